package ledger

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// What the books are bounded by. With 100 objects and all of it used, that is about
// 40 MB of requests and, for each object that never rests, 1 MB of changes.
const (
	keepMinutes = 48 * time.Hour // requests by minute; those by hour are kept as long as everything
	maxEntries  = 20_000         // changes of one object; what came before the oldest one is unknown
	pruneEvery  = time.Hour
	pruneMost   = 200_000 // removals at a time
)

// prune forgets what is too old, and too much, once an hour.
func (l *Ledger) prune() error {
	crowded := false
	for _, b := range l.books {
		crowded = crowded || b.entries > maxEntries+maxEntries/10
	}
	if l.now.Sub(l.pruned) < pruneEvery && !crowded {
		return nil
	}
	var gone []*book
	left := map[*book]int{}
	err := l.touch(func() error {
		return l.db.Update(func(tx *bolt.Tx) error {
			old := l.now.Add(-l.keep)
			if err := forgetBefore(tx.Bucket(bucketMinutes), minuteOf(l.now.Add(-keepMinutes))); err != nil {
				return err
			}
			if err := forgetBefore(tx.Bucket(bucketHours), minuteOf(old)/60); err != nil {
				return err
			}
			gone = nil
			for _, b := range l.books {
				if b.last.state == Unknown && b.last.at.Before(old) {
					gone = append(gone, b)
				}
				n, err := l.shorten(tx, b, old)
				if err != nil {
					return err
				}
				left[b] = n
			}
			return forgetObjects(tx, gone)
		})
	})
	if err != nil {
		return fmt.Errorf("pruning the ledger %s: %w", l.path, err)
	}
	l.pruned = l.now
	for b, n := range left {
		b.entries = n
	}
	for _, b := range gone {
		delete(l.books, b.object)
	}
	return nil
}

// forgetBefore removes what a bucket has of minutes or hours before the first to keep.
func forgetBefore(b *bolt.Bucket, first uint32) error {
	limit := binary.BigEndian.AppendUint32(nil, first)
	c := b.Cursor()
	n := 0
	for k, _ := c.First(); k != nil && bytes.Compare(k, limit) < 0 && n < pruneMost; k, _ = c.First() {
		if err := c.Delete(); err != nil {
			return err
		}
		n++
	}
	return nil
}

// shorten removes the changes of an object before old, but not the last of them, which
// says in which state it was then; and the oldest of too many. It returns how many are left.
func (l *Ledger) shorten(tx *bolt.Tx, b *book, old time.Time) (int, error) {
	var times []time.Time
	if err := entriesOf(tx, b.id, func(e entry) { times = append(times, e.at) }); err != nil {
		return 0, err
	}
	cut := max(0, len(times)-maxEntries)
	for cut+1 < len(times) && !times[cut+1].After(old) {
		cut++
	}
	id := binary.BigEndian.AppendUint32(nil, b.id)
	for _, at := range times[:cut] {
		if err := tx.Bucket(bucketLog).Delete(append(id[:4:4], stamp(at)...)); err != nil {
			return 0, err
		}
	}
	if len(times) > 0 {
		b.first = times[cut]
	}
	return len(times) - cut, nil
}

// forgetObjects removes objects that nobody has known anything of for longer than is kept.
func forgetObjects(tx *bolt.Tx, gone []*book) error {
	for _, b := range gone {
		id := binary.BigEndian.AppendUint32(nil, b.id)
		if err := tx.Bucket(bucketObjects).Delete(id); err != nil {
			return err
		}
		c := tx.Bucket(bucketLog).Cursor()
		for k, _ := c.Seek(id); k != nil && bytes.HasPrefix(k, id); k, _ = c.Seek(id) {
			if err := c.Delete(); err != nil {
				return err
			}
		}
	}
	return nil
}
