package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	"sereno/cmd/sereno/internal/admin"
)

const (
	maxDrains  = 1000             // that may be drained at once
	saveWithin = 2 * time.Second  // for the disk to take the book; nobody waits longer
	saveAgain  = 10 * time.Second // after a disk that did not
)

// drain is one target that an operator took out of service.
type drain struct {
	Target string     `json:"target"`
	Since  time.Time  `json:"since"`
	Until  *time.Time `json:"until"` // nil: until undrained
}

// drainBook remembers what is drained. It is kept in a file, so that drains
// survive a restart (O12). A change is in force at once, also while the disk
// takes nothing: save says whether it is written down, and retry makes good
// what could not be. Nothing but save waits for the disk. Safe for concurrent use.
type drainBook struct {
	path string
	disk chan struct{} // holds one while somebody writes

	mu      sync.Mutex
	all     map[string]drain
	changes uint64 // of all
	written uint64 // the change up to which the file has them
	tried   time.Time
	failed  time.Time // since when the disk does not take them; zero: it does
	err     error
}

func newDrainBook(path string) *drainBook {
	return &drainBook{path: path, disk: make(chan struct{}, 1), all: map[string]drain{}}
}

// loadDrains reads the book at path; a file that is absent is an empty book.
// Drains whose time is over at now are left out.
func loadDrains(path string, now time.Time) (*drainBook, error) {
	b := newDrainBook(path)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading drains: %w", err)
	}
	var list []drain
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("reading drains from %s: %w (remove the file to start without drains)", path, err)
	}
	for _, d := range list {
		if _, err := admin.ParseTarget(d.Target); err != nil { // nobody could undrain it
			return nil, fmt.Errorf("reading drains from %s: %w (remove the file to start without drains)", path, err)
		}
		if d.Until == nil || d.Until.After(now) {
			b.all[d.Target] = d
		}
	}
	if len(b.all) > maxDrains {
		return nil, fmt.Errorf("reading drains from %s: %d are more than %d (remove the file to start without drains)", path, len(b.all), maxDrains)
	}
	return b, nil
}

// add drains target until then; a nil until has no end. A target that is
// drained already gets the new end.
func (b *drainBook) add(target string, now time.Time, until *time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	old, had := b.all[target]
	if !had && len(b.all) >= maxDrains {
		return fmt.Errorf("%d targets are drained already, more are not kept", maxDrains)
	}
	d := drain{Target: target, Since: now.UTC(), Until: until}
	if had {
		d.Since = old.Since
	}
	b.all[target] = d
	b.changes++
	return nil
}

// remove ends the drain of target; it reports whether there was one.
func (b *drainBook) remove(target string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, had := b.all[target]; !had {
		return false
	}
	delete(b.all, target)
	b.changes++
	return true
}

// has reports whether target itself is drained.
func (b *drainBook) has(target string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.all[target]
	return ok
}

// expire ends the drains whose time is over, and returns their targets.
func (b *drainBook) expire(now time.Time) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var over []string
	for target, d := range b.all {
		if d.Until != nil && !d.Until.After(now) {
			delete(b.all, target)
			over = append(over, target)
		}
	}
	if len(over) > 0 {
		b.changes++ // what is over stays over though the file still has it: its end is in the file
	}
	sort.Strings(over)
	return over
}

// list returns every drain, by target.
func (b *drainBook) list() []drain {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.listed()
}

func (b *drainBook) listed() []drain {
	out := make([]drain, 0, len(b.all))
	for _, d := range b.all {
		out = append(out, d)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Target < out[j].Target })
	return out
}

// save brings the book to the disk. After an error it is not there yet, and a
// restart would not know of the last changes.
func (b *drainBook) save() error {
	ctx, cancel := context.WithTimeout(context.Background(), saveWithin)
	defer cancel()
	select {
	case b.disk <- struct{}{}:
	case <-ctx.Done():
		return b.outcome(0, errDiskHangs)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.write() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return b.outcome(0, errDiskHangs)
	}
}

var errDiskHangs = fmt.Errorf("the disk has not taken them within %v", saveWithin)

// retry writes what is not on the disk yet, now and then, and waits for nothing.
func (b *drainBook) retry(now time.Time) {
	b.mu.Lock()
	due := b.changes != b.written && now.Sub(b.tried) >= saveAgain
	if due {
		b.tried = now
	}
	b.mu.Unlock()
	if !due {
		return
	}
	select {
	case b.disk <- struct{}{}:
		go func() { _ = b.write() }() // kept for the alarm
	default: // it hangs
	}
}

// write writes the file anew if it is behind, and gives the disk back.
func (b *drainBook) write() error {
	defer func() { <-b.disk }()
	b.mu.Lock()
	list, upTo, same := b.listed(), b.changes, b.changes == b.written
	b.mu.Unlock()
	if same {
		return nil
	}
	data, err := json.MarshalIndent(list, "", " ")
	if err == nil {
		err = writeFileAtomic(b.path, append(data, '\n'))
	}
	return b.outcome(upTo, err)
}

// outcome keeps what a write of the changes up to that one came to.
func (b *drainBook) outcome(upTo uint64, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.written, b.failed, b.err = upTo, time.Time{}, nil
		return nil
	}
	if b.changes == b.written { // it was taken after all
		return nil
	}
	b.err = fmt.Errorf("writing %s: %w", b.path, err)
	if b.failed.IsZero() {
		b.failed = time.Now()
	}
	return b.err
}

// alarms are raised while the file lacks what an operator was told.
func (b *drainBook) alarms() []alarm {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil || b.changes == b.written {
		return nil
	}
	return []alarm{{name: alarmDrainsUnwritten, since: b.failed, text: "what is drained now would not survive a restart: " + b.err.Error()}}
}
