package ledger

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Report is what the books say about one object.
type Report struct {
	Object  Object
	State   State // now
	Cause   string
	Since   time.Time // of the state
	First   time.Time // where the books on it begin; what was before is unknown
	Figures []Figures // for each window that was asked for, in that order
}

// Figures are those of one object in one window.
type Figures struct {
	Window Window
	// The time in each state; together, the length of the window.
	Up, Degraded, Drained, Down, Unknown time.Duration
	// Outages that were going on in the window; Longest and Last are nil without one.
	Outages       int
	Longest, Last *Outage
	// MTBF is up time by outages, MTTR down time by outages, so far for one that is
	// not repaired; nil without an outage. Degraded is up.
	MTBF, MTTR *time.Duration
	// Availability, 0 to 1: up by up and down. nil when neither is known of.
	Availability *float64
	Nines        int // 9 stands for 9 and more; 0 also when there is no Availability
	Level        int // of Levels; likewise
	// Good of Valid requests were answered well, in the minutes (of windows of more
	// than 47 hours: hours) that the window touches.
	Good, Valid uint64
}

// Serving is the time in which the object served.
func (f *Figures) Serving() time.Duration { return f.Up + f.Degraded }

// TimeBudget is how long the object may be down, at a target in per cent, in the time
// that counts, and what is left of that; less than 0 when it is overdrawn.
func (f *Figures) TimeBudget(target float64) (allowed, left time.Duration) {
	allowed = time.Duration((100 - target) / 100 * float64(f.Serving()+f.Down))
	return allowed, allowed - f.Down
}

// RequestBudget is how many requests may go wrong at a target in per cent, and how many
// of these are left; less than 0 when it is overdrawn.
func (f *Figures) RequestBudget(target float64) (allowed, left float64) {
	allowed = (100 - target) / 100 * float64(f.Valid)
	return allowed, allowed - float64(f.Valid-f.Good)
}

// Now is the books' time at a moment. It is ahead of the wall clock when that was set
// back since the node started.
func (l *Ledger) Now(at Moment) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	next, _, _ := l.reach(at)
	return next
}

// Reports reads the books on every object that want accepts (nil: on all), each for all
// the windows that end at that moment and are so long. They come services first, then by
// pool, name and role.
func (l *Ledger) Reports(at Moment, lengths []time.Duration, want func(Object) bool) ([]Report, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.db == nil {
		return nil, errClosed
	}
	now, known := l.horizon(at)
	windows := make([]Window, len(lengths))
	for i, d := range lengths {
		windows[i] = Window{From: now.Add(-max(d, 0)), To: now}
	}
	var out []Report
	err := l.touch(func() error {
		return l.db.View(func(tx *bolt.Tx) error {
			sums, err := l.sum(tx, windows)
			if err != nil {
				return err
			}
			for o, b := range l.books {
				if want != nil && !want(o) {
					continue
				}
				r, err := l.report(tx, b, known, windows, sums[b.id])
				if err != nil {
					return err
				}
				out = append(out, r)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the ledger %s: %w", l.path, err)
	}
	slices.SortFunc(out, func(a, b Report) int { return inOrder(a.Object, b.Object) })
	return out, nil
}

// inOrder compares as reports are sorted.
func inOrder(a, b Object) int {
	return cmp.Or(-cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Role, b.Role))
}

// horizon is the books' time at a moment, and until when they know anything.
func (l *Ledger) horizon(at Moment) (now, known time.Time) {
	now, passed, _ := l.reach(at)
	if passed > l.silence {
		return now, l.now
	}
	return now, now
}

// entries are all changes of an object, in order.
func (l *Ledger) entries(tx *bolt.Tx, b *book) ([]entry, error) {
	var entries []entry
	if err := entriesOf(tx, b.id, func(e entry) { entries = append(entries, e) }); err != nil {
		return nil, err
	}
	for i := range l.unsaved { // later than all that is saved
		if l.unsaved[i].book == b {
			entries = append(entries, l.unsaved[i].entry)
		}
	}
	return entries, nil
}

// report is about one object, of which something is known until known; counts are its
// requests in each window.
func (l *Ledger) report(tx *bolt.Tx, b *book, known time.Time, windows []Window, counts []requests) (Report, error) {
	entries, err := l.entries(tx, b)
	if err != nil {
		return Report{}, err
	}
	r := Report{Object: b.object, State: b.last.state, Cause: b.last.cause, Since: b.last.at, First: b.first}
	spans := spansOf(entries, known)
	for i, w := range windows {
		f := figuresOf(spans, w)
		if counts != nil {
			f.Good, f.Valid = counts[i].good, counts[i].valid
		}
		r.Figures = append(r.Figures, f)
	}
	return r, nil
}

// figuresOf sums up the history of an object.
func figuresOf(spans []span, w Window) Figures {
	f := Figures{Window: w}
	for i := range spans {
		d := spans[i].within(w)
		switch spans[i].state {
		case Up:
			f.Up += d
		case Degraded:
			f.Degraded += d
		case Drained:
			f.Drained += d
		case Down:
			f.Down += d
		}
	}
	f.Unknown = w.Length() - f.Up - f.Degraded - f.Drained - f.Down
	outages := outagesOf(spans, w)
	f.Outages = len(outages)
	for i := range outages {
		if f.Longest == nil || outages[i].Down > f.Longest.Down {
			f.Longest = &outages[i]
		}
		f.Last = &outages[i]
	}
	if n := time.Duration(f.Outages); n > 0 {
		mtbf, mttr := f.Serving()/n, f.Down/n
		f.MTBF, f.MTTR = &mtbf, &mttr
	}
	if known := f.Serving() + f.Down; known > 0 {
		a := float64(f.Serving()) / float64(known)
		f.Availability, f.Nines, f.Level = &a, ninesOf(f.Serving(), f.Down), levelOf(f.Serving(), f.Down)
	}
	return f
}

// byMinutes tells whether a window's requests are taken from the minutes.
func byMinutes(w Window) bool { return w.Length() <= keepMinutes-time.Hour }

// sum adds up the requests of all objects in each of the windows, in one reading.
func (l *Ledger) sum(tx *bolt.Tx, windows []Window) (map[uint32][]requests, error) {
	out := map[uint32][]requests{}
	add := func(i int, id uint32, r requests) {
		if out[id] == nil {
			out[id] = make([]requests, len(windows))
		}
		out[id][i].add(r)
	}
	for _, source := range []struct {
		bucket  []byte
		minutes uint32 // of one item
		fine    bool
	}{{bucketMinutes, 1, true}, {bucketHours, 60, false}} {
		var first []uint32 // of each window; those of the other source are beyond all
		least := ^uint32(0)
		for _, w := range windows {
			from := ^uint32(0)
			if byMinutes(w) == source.fine {
				from = minuteOf(w.From) / source.minutes
			}
			first, least = append(first, from), min(least, from)
		}
		take := func(item, id uint32, r requests) {
			for i := range windows {
				if item >= first[i] {
					add(i, id, r)
				}
			}
		}
		if b := tx.Bucket(source.bucket); b != nil && least != ^uint32(0) {
			c := b.Cursor()
			for k, v := c.Seek(pair(least, 0)); k != nil; k, v = c.Next() {
				r, err := parseRequests(v)
				if err != nil || len(k) != 8 {
					return nil, errCount
				}
				take(binary.BigEndian.Uint32(k), binary.BigEndian.Uint32(k[4:]), r)
			}
		}
		for key, r := range l.counts {
			take(key.minute/source.minutes, key.id, r)
		}
	}
	return out, nil
}
