package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	"sereno/cmd/sereno/internal/admin"
)

// maxDrains bounds how many targets may be drained at once.
const maxDrains = 1000

// drain is one target that an operator took out of service.
type drain struct {
	Target string     `json:"target"`
	Since  time.Time  `json:"since"`
	Until  *time.Time `json:"until"` // nil: until undrained
}

// drainBook remembers what is drained. It is kept in a file, so that drains
// survive a restart (O12); every change is on disk before it takes effect.
// Safe for concurrent use.
type drainBook struct {
	path string
	mu   sync.Mutex
	all  map[string]drain
}

// loadDrains reads the book at path; a file that is absent is an empty book.
// Drains whose time is over at now are left out.
func loadDrains(path string, now time.Time) (*drainBook, error) {
	b := &drainBook{path: path, all: map[string]drain{}}
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
	if err := b.save(); err != nil {
		delete(b.all, target)
		if had {
			b.all[target] = old
		}
		return err
	}
	return nil
}

// remove ends the drain of target; it reports whether there was one.
func (b *drainBook) remove(target string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old, had := b.all[target]
	if !had {
		return false, nil
	}
	delete(b.all, target)
	if err := b.save(); err != nil {
		b.all[target] = old
		return true, err
	}
	return true, nil
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
		// What is over stays over when the file still has it: its end is in the file.
		_ = b.save()
	}
	sort.Strings(over)
	return over
}

// list returns every drain, by target.
func (b *drainBook) list() []drain {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]drain, 0, len(b.all))
	for _, d := range b.all {
		out = append(out, d)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Target < out[j].Target })
	return out
}

func (b *drainBook) save() error {
	list := make([]drain, 0, len(b.all))
	for _, d := range b.all {
		list = append(list, d)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Target < list[j].Target })
	data, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return fmt.Errorf("writing drains: %w", err)
	}
	if err := writeFileAtomic(b.path, append(data, '\n')); err != nil {
		return fmt.Errorf("writing drains: %w", err)
	}
	return nil
}
