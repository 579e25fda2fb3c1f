package ledger

import (
	"errors"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Options of a Ledger.
type Options struct {
	// Now is the moment at which it is opened.
	Now Moment
	// Keep is how long what happened is remembered.
	Keep time.Duration
	// Every is the time between two Beats; what is longer than three of them and
	// 15 s is a time in which this process stood still.
	Every time.Duration
	// Warn is told, in a sentence, what was wrong with the file. nil: nobody is.
	Warn func(message string)
}

// Ledger is the open books. Methods are safe for concurrent use; each may wait for
// the disk.
type Ledger struct {
	path    string
	keep    time.Duration
	silence time.Duration
	warn    func(message string)

	mu      sync.Mutex
	db      *bolt.DB
	damaged error         // why nothing may touch db any more
	now     time.Time     // the books' time: never goes back
	elapsed time.Duration // when that was, by the even clock
	books   map[Object]*book
	nextID  uint32
	pruned  time.Time
	unsaved []change           // what the disk has not taken yet, in order
	counts  map[tally]requests // likewise
}

// book is what is known of one object.
type book struct {
	id      uint32
	object  Object
	first   time.Time // when the books on it begin
	last    entry
	entries int // in the file
}

// entry is one change of state.
type entry struct {
	at    time.Time
	state State
	cause string
}

// change is an entry on its way to the file.
type change struct {
	book *book
	entry
}

// tally names the requests of one object in one minute.
type tally struct {
	id     uint32
	minute uint32 // since the epoch
}

// requests are how many were answered well, and how many could have been.
type requests struct{ good, valid uint64 }

func (r *requests) add(o requests) {
	r.good += o.good
	r.valid += o.valid
}

const (
	maxCause   = 200     // bytes
	maxUnsaved = 100_000 // changes, and minutes of requests, that wait for a disk that takes nothing
)

var errClosed = errors.New("the ledger is closed")

// Observe takes in that an object is in a state since at. It returns when that is
// on disk; on an error it is kept in memory, and tried again with the next call.
func (l *Ledger) Observe(at Moment, o Object, s State, cause string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.db == nil {
		return errClosed
	}
	l.set(l.advance(at), o, s, cause)
	return l.save()
}

// Beat takes in all objects there are, as a sign that the node runs and knows them.
// What is not among them is unknown from now on. Errors are as of Observe.
func (l *Ledger) Beat(at Moment, all []Observation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.db == nil {
		return errClosed
	}
	now := l.advance(at)
	seen := make(map[Object]bool, len(all))
	for i := range all {
		o := &all[i]
		seen[o.Object] = true
		b := l.set(now, o.Object, o.State, o.Cause)
		if o.Valid > 0 {
			l.count(b, now, requests{good: min(o.Good, o.Valid), valid: o.Valid})
		}
	}
	for o, b := range l.books {
		if !seen[o] && b.last.state != Unknown {
			l.note(b, entry{at: now, state: Unknown, cause: "not configured"})
		}
	}
	return l.save()
}

// SetKeep changes how long what happened is remembered, from the next hour on.
func (l *Ledger) SetKeep(keep time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep = keep
}

// Close notes that the node ran until at, and closes the file.
func (l *Ledger) Close(at Moment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.db == nil {
		return nil
	}
	l.advance(at)
	err := l.save()
	db := l.db
	l.db = nil
	if l.damaged != nil {
		return err
	}
	return errors.Join(err, guard(db.Close))
}

// set notes a state unless it is the one that the object is in.
func (l *Ledger) set(now time.Time, o Object, s State, cause string) *book {
	if s >= numStates {
		s = Unknown
	}
	b := l.books[o]
	if b == nil {
		b = &book{id: l.nextID, object: o, first: now, last: entry{at: now}}
		l.nextID++
		l.books[o] = b
		if s == Unknown { // the books begin all the same
			l.note(b, entry{at: now, state: s, cause: cause})
		}
	}
	if b.last.state != s {
		l.note(b, entry{at: now, state: s, cause: cause})
	}
	return b
}

func (l *Ledger) note(b *book, e entry) {
	if len(e.cause) > maxCause {
		e.cause = strings.ToValidUTF8(e.cause[:maxCause], "")
	}
	b.last = e
	if len(l.unsaved) >= maxUnsaved {
		l.unsaved = l.unsaved[1:] // the newest matter most
	}
	l.unsaved = append(l.unsaved, change{b, e})
}

func (l *Ledger) count(b *book, now time.Time, r requests) {
	key := tally{id: b.id, minute: minuteOf(now)}
	sum, had := l.counts[key]
	if !had && len(l.counts) >= maxUnsaved {
		return
	}
	sum.add(r)
	l.counts[key] = sum
}
