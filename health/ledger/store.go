package ledger

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// What the file holds. Numbers in keys are big-endian, so that keys are in order.
var (
	bucketMeta    = []byte("meta")    // keyFormat, keyBeat
	bucketObjects = []byte("objects") // id (4) → the object's texts
	bucketLog     = []byte("log")     // id (4), time (8) → state (1), cause
	bucketMinutes = []byte("minutes") // minute since the epoch (4), id (4) → good, valid (uvarints)
	bucketHours   = []byte("hours")   // hour since the epoch (4), id (4) → good, valid

	buckets = [][]byte{bucketMeta, bucketObjects, bucketLog, bucketMinutes, bucketHours}

	keyFormat = []byte("format")
	keyBeat   = []byte("beat") // the books' time when the file was last written (8)
)

// No key and no value that was ever written is longer. bbolt believes what a damaged page says of their lengths, and
// what is behind the file in memory would be taken for a part of it.
const (
	maxKey  = 64
	maxItem = 64 << 10
)

// whole tells whether bbolt gives something that may have been written.
func whole(k, v []byte) bool { return k != nil && v != nil && len(k) <= maxKey && len(v) <= maxItem }

var errCount = fmt.Errorf("%w: a count cannot be read", errDamaged)

func timeOf(ns uint64) time.Time {
	return time.Unix(0, int64(ns)).UTC() //nolint:gosec // as stamp wrote it
}

func stamp(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(max(t.UnixNano(), 0))) //nolint:gosec // not negative
}

func minuteOf(t time.Time) uint32 {
	return uint32(max(t.Unix()/60, 0)) //nolint:gosec // until the year 10136
}

func pair(a, b uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, a), b)
}

// save writes what is not on disk yet, and the heartbeat, in one transaction; into new
// books if the old ones turn out to be damaged.
func (l *Ledger) save() error {
	if l.damaged == nil {
		if err := l.commit(); l.damaged == nil {
			return err
		}
	}
	if err := l.replace(); err != nil {
		return fmt.Errorf("replacing the ledger %s: %w", l.path, err)
	}
	return l.commit()
}

func (l *Ledger) commit() error {
	entries := map[*book]int{}
	err := l.touch(func() error {
		return l.db.Update(func(tx *bolt.Tx) error { return l.write(tx, entries) })
	})
	if err != nil {
		return fmt.Errorf("writing the ledger %s: %w", l.path, err)
	}
	for b, n := range entries {
		b.entries = n
	}
	l.unsaved = l.unsaved[:0]
	clear(l.counts)
	return l.prune()
}

// write puts everything that is unsaved into a transaction, and says how many
// entries each object that it touched has then.
func (l *Ledger) write(tx *bolt.Tx, entries map[*book]int) error {
	for _, name := range buckets {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta, objects, log := tx.Bucket(bucketMeta), tx.Bucket(bucketObjects), tx.Bucket(bucketLog)
	if err := meta.Put(keyFormat, []byte(formatName+" "+formatNumber)); err != nil {
		return err
	}
	if err := meta.Put(keyBeat, stamp(l.now)); err != nil {
		return err
	}
	for i := range l.unsaved {
		c := &l.unsaved[i]
		id := binary.BigEndian.AppendUint32(nil, c.book.id)
		if _, done := entries[c.book]; !done {
			entries[c.book] = c.book.entries
			if err := objects.Put(id, []byte(c.book.object.text())); err != nil {
				return err
			}
		}
		key := append(id, stamp(c.at)...)
		if log.Get(key) == nil { // of two changes at one moment the last one counts
			entries[c.book]++
		}
		if err := log.Put(key, append([]byte{byte(c.state)}, c.cause...)); err != nil {
			return err
		}
	}
	for key, r := range l.counts {
		if err := addTo(tx.Bucket(bucketMinutes), pair(key.minute, key.id), r); err != nil {
			return err
		}
		if err := addTo(tx.Bucket(bucketHours), pair(key.minute/60, key.id), r); err != nil {
			return err
		}
	}
	return nil
}

func addTo(b *bolt.Bucket, key []byte, r requests) error {
	old, err := parseRequests(b.Get(key))
	if err != nil {
		return err
	}
	r.add(old)
	return b.Put(key, binary.AppendUvarint(binary.AppendUvarint(nil, r.good), r.valid))
}

// parseRequests reads a value of minutes or hours; nothing is none.
func parseRequests(v []byte) (requests, error) {
	if v == nil {
		return requests{}, nil
	}
	good, n := binary.Uvarint(v)
	if n <= 0 {
		return requests{}, errCount
	}
	valid, m := binary.Uvarint(v[n:])
	if m <= 0 {
		return requests{}, errCount
	}
	return requests{good: good, valid: valid}, nil
}

// entriesOf reads the log of one object in order.
func entriesOf(tx *bolt.Tx, id uint32, each func(entry)) error {
	log := tx.Bucket(bucketLog)
	if log == nil {
		return nil
	}
	prefix := binary.BigEndian.AppendUint32(nil, id)
	c := log.Cursor()
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if len(k) != 12 || !whole(k, v) || len(v) < 1 || v[0] >= byte(numStates) {
			return unusable("it is damaged: a change cannot be read")
		}
		each(entry{at: timeOf(binary.BigEndian.Uint64(k[4:])), state: State(v[0]), cause: string(v[1:])})
	}
	return nil
}
