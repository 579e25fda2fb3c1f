package ledger

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeBolt makes a database of bbolt that is not ours.
func writeBolt(t testing.TB, path, bucket, key, value string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte(bucket))
		if err != nil || key == "" {
			return err
		}
		return b.Put([]byte(key), []byte(value))
	})
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// FuzzOpen spoils a good file in one place, and perhaps cuts it: it is used or set
// aside, and never brings the node down.
func FuzzOpen(f *testing.F) {
	good := filepath.Join(f.TempDir(), "good.db")
	l, err := Open(good, Options{Now: Moment{Wall: start}, Keep: 400 * day, Every: beat})
	if err != nil {
		f.Fatal(err)
	}
	for i := range 40 {
		at := Moment{Wall: start.Add(time.Duration(i) * beat), Elapsed: time.Duration(i) * beat}
		if err := l.Beat(at, []Observation{{resolver, State(1 + i%4), "cause", 1, 2}, {fulmine, Up, "", 3, 4}}); err != nil {
			f.Fatal(err)
		}
	}
	if err := l.Close(Moment{Wall: start.Add(time.Hour), Elapsed: time.Hour}); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{0}, uint32(0))
	f.Add(uint32(16), []byte("\xff\xff\xff\xff\xff\xff\xff\xff"), uint32(0))
	for page := range uint32(len(data) / 4096) {
		f.Add(page*4096+8, []byte{0xff, 0xff, 0xff, 0x7f}, uint32(0))
		f.Add(page*4096+16, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint32(0))
		f.Add(page*4096+40, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, page*1000)
	}
	f.Fuzz(func(t *testing.T, at uint32, with []byte, cut uint32) {
		spoiled := append([]byte(nil), data...)
		copy(spoiled[int(at)%len(spoiled):], with)
		spoiled = spoiled[:len(spoiled)-int(cut)%len(spoiled)]
		path := filepath.Join(t.TempDir(), "ledger.db")
		write(t, path, spoiled)
		now := Moment{Wall: start.Add(2 * time.Hour)}
		l, err := Open(path, Options{Now: now, Keep: 400 * day, Every: beat})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			now := Moment{Wall: now.Wall.Add(time.Duration(i) * beat), Elapsed: time.Duration(i) * beat}
			// A file may go bad while it runs; then the next call begins new books.
			_ = l.Beat(now, []Observation{{resolver, Up, "", 1, 1}})
			_, _ = l.Reports(now, []time.Duration{time.Hour, 30 * day}, nil)
		}
		now = Moment{Wall: now.Wall.Add(3 * beat), Elapsed: 3 * beat}
		if err := l.Beat(now, []Observation{{resolver, Up, "", 1, 1}}); err != nil {
			t.Fatal(err)
		}
		_ = l.Close(now) // it may have gone bad
	})
}
