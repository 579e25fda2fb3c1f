package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// lockTimeout is how long to wait for another process that has the file open.
const lockTimeout = time.Second

// format is what the file calls itself. A later version that older ones must not
// write to has another number.
const (
	formatName   = "sereno-ledger"
	formatNumber = "1"
)

// Open opens the books at path, or begins new ones. What another life of the node
// left open is unknown from its last heartbeat on. A file that cannot be used is
// renamed to path with ".aside-" and the time at its end, and o.Warn is told.
// An error means that the directory takes no file, or another process has this one.
func Open(path string, o Options) (*Ledger, error) {
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	l, err := open(path, o)
	var unusable *unusableError
	if !errors.As(err, &unusable) {
		return l, err
	}
	aside, err := setAside(path, o.Now.Wall)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger: %w, and: %w", unusable, err)
	}
	o.Warn(fmt.Sprintf("the ledger %s cannot be used: %v; it is kept as %s, and new books are begun", path, unusable, aside))
	return open(path, o)
}

// unusableError is why the file has to be set aside.
type unusableError struct{ why string }

// Error says why.
func (e *unusableError) Error() string { return e.why }

func unusable(format string, v ...any) error { return &unusableError{fmt.Sprintf(format, v...)} }

// setAside renames a file to a name that is free.
func setAside(path string, now time.Time) (string, error) {
	base := path + ".aside-" + now.UTC().Format("20060102T150405")
	for i := range 1000 {
		aside := base
		if i > 0 {
			aside = fmt.Sprintf("%s-%d", base, i)
		}
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			return aside, os.Rename(path, aside)
		}
	}
	return "", fmt.Errorf("too many files like %s", base)
}

func open(path string, o Options) (*Ledger, error) {
	l := &Ledger{
		path: path, keep: o.Keep, silence: max(3*o.Every, 15*time.Second), warn: o.Warn,
		now: o.Now.Wall.Round(0).UTC(), elapsed: o.Now.Elapsed,
		books: map[Object]*book{}, counts: map[tally]requests{}, nextID: 1,
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0:
		l.db, err = openFile(path, false)
	case err == nil && !info.Mode().IsRegular():
		err = unusable("it is not a file")
	case err == nil:
		err = l.inherit(info.Size())
	}
	if err != nil {
		return nil, err
	}
	if err := l.save(); err != nil {
		return nil, errors.Join(err, guard(l.db.Close))
	}
	return l, nil
}

// openFile opens a file of bbolt. It writes nothing to one that has content.
func openFile(path string, readOnly bool) (db *bolt.DB, err error) {
	e := guard(func() error {
		db, err = bolt.Open(path, 0o640, &bolt.Options{Timeout: lockTimeout, FreelistType: bolt.FreelistMapType, ReadOnly: readOnly})
		return nil
	})
	var denied *fs.PathError
	switch {
	case e != nil:
		return nil, unusable("%v", e)
	case err == nil:
		return db, nil
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("opening the ledger %s: another process has it open", path)
	case errors.As(err, &denied):
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	return nil, unusable("it is no ledger: %v", err)
}

// inherit reads the books that are there, of size bytes, into a fresh file that takes
// their place: so everything was read once, and what bbolt believes of free pages is
// not believed. What the last life left open is unknown from its last heartbeat on.
func (l *Ledger) inherit(size int64) error {
	old, err := openFile(l.path, true)
	if err != nil {
		return err
	}
	file, err := os.Open(l.path)
	if err != nil {
		return errors.Join(err, guard(old.Close))
	}
	defer file.Close()
	var beat time.Time
	fresh := l.path + ".new"
	err = guard(func() error {
		return old.View(func(tx *bolt.Tx) (err error) {
			if size < tx.Size() {
				return unusable("it is torn: %d bytes are left of %d", size, tx.Size())
			}
			if err := checkPages(file, tx); err != nil {
				return err
			}
			if beat, err = l.load(tx); err != nil {
				return err
			}
			if beat.Sub(l.now) > futureBy {
				return unusable("it is from the future: it was last written at %s, and it is %s", beat.Format(time.RFC3339), l.now.Format(time.RFC3339))
			}
			l.db, err = renew(tx, fresh)
			return err
		})
	})
	if e := guard(old.Close); err == nil {
		err = e
	}
	if err == nil {
		err = rename(fresh, l.path)
	}
	if err != nil {
		if l.db != nil {
			err = errors.Join(err, guard(l.db.Close))
		}
		if errors.Is(err, errDamaged) {
			return unusable("%v", err)
		}
		return err
	}
	if beat.After(l.now) {
		l.now = beat
	}
	for _, b := range l.books {
		if b.last.state != Unknown {
			l.note(b, entry{at: beat, state: Unknown, cause: "the node was not running"})
		}
	}
	return nil
}

// renew copies everything into a fresh file, and syncs it.
func renew(from *bolt.Tx, path string) (*bolt.DB, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	db, err := openFile(path, false)
	if err != nil {
		return nil, err
	}
	db.NoSync = true
	for _, name := range buckets {
		if err := copyBucket(from.Bucket(name), db, name); err != nil {
			return db, err
		}
	}
	db.NoSync = false
	return db, db.Sync()
}

// copyMost is how many items one transaction takes.
const copyMost = 20_000

func copyBucket(from *bolt.Bucket, db *bolt.DB, name []byte) error {
	c := from.Cursor()
	k, v := c.First()
	for {
		err := db.Update(func(tx *bolt.Tx) error {
			to, err := tx.CreateBucketIfNotExists(name)
			if err != nil {
				return err
			}
			to.FillPercent = 0.9
			for n := 0; k != nil && n < copyMost; n++ {
				if !whole(k, v) || len(k) == 0 {
					return fmt.Errorf("%w: something strange in %s", errDamaged, name)
				}
				if err := to.Put(k, v); err != nil {
					return err
				}
				k, v = c.Next()
			}
			return nil
		})
		if err != nil || k == nil {
			return err
		}
	}
}

// rename puts a file in another's place, durably.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// load reads and checks what the file holds; beat is its last heartbeat.
func (l *Ledger) load(tx *bolt.Tx) (beat time.Time, err error) {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return beat, unusable("it belongs to another program")
	}
	title := meta.Get(keyFormat)
	if len(title) > maxItem {
		return beat, unusable("it is damaged: its name cannot be read")
	}
	name, number, _ := strings.Cut(string(title), " ")
	switch {
	case name != formatName:
		return beat, unusable("it belongs to another program")
	case number != formatNumber:
		return beat, unusable("its format is %s, which a later version writes; this one knows %s", number, formatNumber)
	case len(meta.Get(keyBeat)) != 8:
		return beat, unusable("it is damaged: no heartbeat")
	}
	for _, name := range buckets {
		if tx.Bucket(name) == nil {
			return beat, unusable("it is damaged: %s is missing", name)
		}
	}
	beat = timeOf(binary.BigEndian.Uint64(meta.Get(keyBeat)))
	err = tx.Bucket(bucketObjects).ForEach(func(k, v []byte) error {
		if !whole(k, v) {
			return unusable("it is damaged: an object cannot be read")
		}
		o, ok := parseObject(string(v))
		if len(k) != 4 || !ok || l.books[o] != nil {
			return unusable("it is damaged: an object cannot be read")
		}
		b := &book{id: binary.BigEndian.Uint32(k), object: o, first: beat, last: entry{at: beat}}
		l.books[o] = b
		l.nextID = max(l.nextID, b.id+1)
		return entriesOf(tx, b.id, func(e entry) {
			if b.entries == 0 {
				b.first = e.at
			}
			b.last = e
			b.entries++
		})
	})
	if err != nil {
		return beat, err
	}
	for _, name := range [][]byte{bucketMinutes, bucketHours} {
		err := tx.Bucket(name).ForEach(func(k, v []byte) error {
			if len(k) != 8 || v == nil {
				return errCount
			}
			_, err := parseRequests(v)
			return err
		})
		if err != nil {
			return beat, err
		}
	}
	return beat, nil
}
