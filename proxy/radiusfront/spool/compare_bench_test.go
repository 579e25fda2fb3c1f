package spool

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// keeper is something that could keep records on disk.
type keeper interface {
	// store stores the records from first to below end, group of them under one sync.
	store(b *testing.B, first, end, group int)
	// remove removes them.
	remove(b *testing.B, first, end int)
	close(b *testing.B)
}

// bboltKeeper keeps them in one bucket by their number.
type bboltKeeper struct{ db *bbolt.DB }

var bucket = []byte("records")

func openBbolt(b *testing.B, dir string) keeper {
	b.Helper()
	db, err := bbolt.Open(filepath.Join(dir, "records.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	// A spool has to know which sessions have records: it reads them once.
	err = db.Update(func(tx *bbolt.Tx) error {
		t, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		sessions := map[uint64]int{}
		return t.ForEach(func(_, v []byte) error { sessions[binary.BigEndian.Uint64(v)]++; return nil })
	})
	if err != nil {
		b.Fatal(err)
	}
	return &bboltKeeper{db}
}

func (k *bboltKeeper) each(b *testing.B, first, end, group int, do func(t *bbolt.Bucket, key []byte, n int) error) {
	b.Helper()
	for at := first; at < end; at += group {
		if err := k.db.Update(func(tx *bbolt.Tx) error {
			t := tx.Bucket(bucket)
			for n := at; n < min(end, at+group); n++ {
				if err := do(t, binary.BigEndian.AppendUint64(nil, uint64(n)), n); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

func (k *bboltKeeper) store(b *testing.B, first, end, group int) {
	b.Helper()
	k.each(b, first, end, group, func(t *bbolt.Bucket, key []byte, n int) error {
		return t.Put(key, record(uint64(n%1000), n).Data)
	})
}

func (k *bboltKeeper) remove(b *testing.B, first, end int) {
	b.Helper()
	k.each(b, first, end, 512, func(t *bbolt.Bucket, key []byte, _ int) error { return t.Delete(key) })
}

func (k *bboltKeeper) close(b *testing.B) {
	b.Helper()
	if err := k.db.Close(); err != nil {
		b.Fatal(err)
	}
}

// segmentKeeper is this package.
type segmentKeeper struct{ s *Spool }

func openSegments(b *testing.B, dir string) keeper {
	b.Helper()
	s, err := Open(Options{Dir: dir, Node: "garibaldi-1", MaxBytes: 4 << 30})
	if err != nil {
		b.Fatal(err)
	}
	return &segmentKeeper{s}
}

func (k *segmentKeeper) store(b *testing.B, first, end, group int) {
	b.Helper()
	for at := first; at < end; at += group {
		var list []Record
		for n := at; n < min(end, at+group); n++ {
			list = append(list, record(uint64(n%1000), n))
		}
		mustAppend(b, k.s, list...)
	}
}

func (k *segmentKeeper) remove(b *testing.B, first, end int) {
	b.Helper()
	n := 0
	for _, list := range drain(b, k.s) {
		n += len(list)
	}
	if n != end-first {
		b.Fatalf("%d of %d", n, end-first)
	}
}

func (k *segmentKeeper) close(b *testing.B) {
	b.Helper()
	if err := k.s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkR40Keepers compares this package with bbolt: the figures of the package comment. `million` is one operation
// whatever b.N is: -benchtime 1x.
func BenchmarkR40Keepers(b *testing.B) {
	for _, kind := range []struct {
		name string
		open func(*testing.B, string) keeper
	}{{"bbolt", openBbolt}, {"segments", openSegments}} {
		rate := func(b *testing.B) {
			b.Helper()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		}
		for _, group := range []int{64, 512} {
			b.Run(fmt.Sprintf("%s/store-%d", kind.name, group), func(b *testing.B) {
				k := kind.open(b, b.TempDir())
				b.ResetTimer()
				k.store(b, 0, b.N, group)
				rate(b)
				b.StopTimer()
				k.close(b)
			})
		}
		b.Run(kind.name+"/remove", func(b *testing.B) {
			k := kind.open(b, b.TempDir())
			k.store(b, 0, b.N, 10_000)
			b.ResetTimer()
			k.remove(b, 0, b.N)
			rate(b)
			b.StopTimer()
			k.close(b)
		})
		b.Run(kind.name+"/million", func(b *testing.B) {
			dir := b.TempDir()
			k := kind.open(b, dir)
			k.store(b, 0, 1_000_000, 10_000)
			k.close(b)
			size := int64(0)
			for _, f := range files(b, dir, "") {
				in, err := os.Stat(f)
				if err != nil {
					b.Fatal(err)
				}
				size += in.Size()
			}
			began := time.Now()
			kind.open(b, dir).close(b)
			b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-open")
			b.ReportMetric(float64(size)/(1<<20), "MiB")
		})
	}
}
