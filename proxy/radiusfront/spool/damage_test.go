package spool

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// written makes a directory with n records of n sessions in one segment and
// gives the segment's path and each frame's offset.
func written(t testing.TB, n int) (dir, segment string, offsets []int) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir)
	for i := range n {
		mustAppend(t, s, record(uint64(i), i))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segments := files(t, dir, segmentPrefix)
	if len(segments) != 1 {
		t.Fatal(segments)
	}
	b, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	_, salt, _ := parseSegmentName(filepath.Base(segments[0]))
	scan(b, &salt, func(_ *frame, off, _ int) { offsets = append(offsets, off) })
	if len(offsets) != n {
		t.Fatalf("%d frames", len(offsets))
	}
	return dir, segments[0], append(offsets, len(b))
}

// reopened puts content in the segment's place and gives what is left, and
// checks that it goes on.
func reopened(t *testing.T, dir, segment string, content []byte) (map[uint64][]int, Stats) {
	t.Helper()
	for _, f := range files(t, dir, "") {
		if f != filepath.Join(dir, "node") {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(segment, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Dir: dir, Node: "garibaldi-1", MaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	mustAppend(t, s, record(1000, 1000))
	got := drain(t, s)
	if len(got[1000]) != 1 {
		t.Fatal("it does not go on")
	}
	delete(got, 1000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return got, st
}

func TestR44CutAtEveryByteOfTheLastRecord(t *testing.T) {
	dir, segment, at := written(t, 5)
	whole, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	for cut := at[4]; cut <= at[5]; cut++ {
		got, st := reopened(t, dir, segment, whole[:cut])
		want, damaged := 4, uint64(1)
		switch cut {
		case at[4]:
			damaged = 0
		case at[5]:
			want, damaged = 5, 0
		}
		if len(got) != want || st.Damaged != damaged || len(files(t, dir, "damaged-")) != int(damaged) {
			t.Fatalf("cut at byte %d of %d: %d records, %+v", cut-at[4], at[5]-at[4], len(got), st)
		}
		if damaged == 1 {
			kept, err := os.ReadFile(files(t, dir, "damaged-")[0])
			if err != nil || !bytes.Equal(kept, whole[at[4]:cut]) {
				t.Fatalf("kept aside: %x, %v", kept, err)
			}
		}
	}
}

func TestR44AFlippedBitAnywhereCostsOneRecord(t *testing.T) {
	dir, segment, at := written(t, 5)
	whole, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	for i := range at[5] {
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		hit := 0
		for at[hit+1] <= i {
			hit++
		}
		got, st := reopened(t, dir, segment, b)
		if len(got) != 4 || got[uint64(hit)] != nil || st.Damaged != 1 {
			t.Fatalf("bit %d of byte %d (record %d, offset %d): %v, %+v", i%8, i, hit, i-at[hit], got, st)
		}
	}
}

func TestR44ManyFlippedBitsLoseNoOtherRecords(t *testing.T) {
	dir, segment, at := written(t, 60)
	whole, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		b, hit := bytes.Clone(whole), map[uint64]bool{}
		for range 10 {
			i := rng.IntN(len(b))
			b[i] ^= 1 << rng.IntN(8)
			for n := range 60 {
				if at[n] <= i && i < at[n+1] && !bytes.Equal(b[at[n]:at[n+1]], whole[at[n]:at[n+1]]) {
					hit[uint64(n)] = true
				}
			}
		}
		got, st := reopened(t, dir, segment, b)
		for n := range uint64(60) {
			if !hit[n] && got[n] == nil {
				t.Fatalf("record %d was not hit and is lost", n)
			}
		}
		if st.Damaged == 0 || int(st.Damaged) > len(hit) {
			t.Fatalf("%d damaged, %d were hit", st.Damaged, len(hit))
		}
	}
}

// TestR44BytesOfANASAreNoFrame: a record carries a whole frame of another; when
// its own header is damaged, the inner one must not come to life.
func TestR44BytesOfANASAreNoFrame(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var wrongSalt [saltLen]byte
	inner := appendFrame(nil, &wrongSalt, &frame{kind: kindRecord, id: 77, session: 7, queue: 1, payload: []byte("forged  and more")})
	mustAppend(t, s, Record{Session: 1, Queue: 1, Class: Stop, Data: inner}, record(2, 2))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segment := files(t, dir, segmentPrefix)[0]
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	b[9] ^= 0x40 // its length
	got, _ := reopened(t, dir, segment, b)
	if len(got) != 1 || got[2] == nil {
		t.Fatal(got)
	}
}

func TestR44ARecordThatRotsWhileWeRunCostsItself(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	mustAppend(t, s, record(1, 1), record(1, 2), record(2, 3))
	f, err := os.OpenFile(files(t, dir, segmentPrefix)[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("rot"), headerLen+20); err != nil {
		t.Fatal(err)
	}
	got := drain(t, s)
	if st := s.Stats(); len(got[1]) != 1 || got[1][0] != 2 || len(got[2]) != 1 || st.Damaged != 1 || len(files(t, dir, "damaged-")) != 1 {
		t.Fatalf("%v %+v", got, st)
	}
}

func TestDamageIsCountedOnce(t *testing.T) {
	dir, segment, at := written(t, 3)
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	b[at[1]+50] ^= 1
	if err := os.WriteFile(segment, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for want := uint64(1); ; want = 0 {
		s := open(t, dir)
		if st := s.Stats(); st.Damaged != want || st.Records != 2 {
			t.Fatalf("%+v", st)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if want == 0 {
			return
		}
	}
}

// sickFile fails as its disk says.
type sickFile struct {
	file
	disk *sickDisk
}

type sickDisk struct {
	room     atomic.Int64 // bytes; below 0 is full
	syncFail atomic.Bool
}

func (d *sickDisk) options(o *Options) {
	d.room.Store(1 << 40)
	o.create = func(in *os.Root, name string) (file, error) {
		f, err := createFile(in, name)
		if err != nil {
			return nil, err
		}
		return &sickFile{f, d}, nil
	}
}

func (f *sickFile) WriteAt(b []byte, at int64) (int, error) {
	if left := f.disk.room.Add(-int64(len(b))); left < 0 {
		n, _ := f.file.WriteAt(b[:len(b)/2], at) // a full disk takes a part
		return n, syscall.ENOSPC
	}
	return f.file.WriteAt(b, at)
}

func (f *sickFile) Sync() error {
	if f.disk.syncFail.Load() {
		return syscall.EIO
	}
	return f.file.Sync()
}

var _ io.WriterAt = (*sickFile)(nil)

func TestR40AFullDiskAcknowledgesNothingAndLosesNothing(t *testing.T) {
	dir := t.TempDir()
	var disk sickDisk
	states := make(chan error, 10)
	s := open(t, dir, disk.options, func(o *Options) { o.OnState = func(err error) { states <- err } })
	mustAppend(t, s, record(1, 1), record(2, 2))
	disk.room.Store(100)
	if err := s.Append(record(3, 3)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%v", err)
	}
	if err := <-states; !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("told %v", err)
	}
	if s.Accepts() || s.Has(3) {
		t.Fatal("it still accepts")
	}
	if err := s.Append(record(4, 4)); err == nil {
		t.Fatal("acknowledged on a full disk")
	}
	if d, ok := s.Next(1); !ok || number(d.Data) != 1 {
		t.Fatalf("what is stored is not delivered: %+v", d)
	} else {
		s.Done(d)
	}
	if n := len(files(t, dir, segmentPrefix)); n > 2 {
		t.Fatalf("%d segments of a full disk", n)
	}
	disk.room.Store(1 << 40)
	if err := <-states; err != nil {
		t.Fatalf("told %v", err)
	}
	if !s.Accepts() {
		t.Fatal("it does not accept again")
	}
	mustAppend(t, s, record(5, 5))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got, st := drain(t, s), s.Stats(); got[2] == nil || got[5] == nil || got[3] != nil || got[4] != nil || st.Damaged != 0 {
		t.Fatalf("%v %+v", got, st)
	}
}

func TestR40AFailedSyncIsNoAcknowledgement(t *testing.T) {
	dir := t.TempDir()
	var disk sickDisk
	s := open(t, dir, disk.options)
	mustAppend(t, s, record(1, 1))
	disk.syncFail.Store(true)
	if err := s.Append(record(2, 2)); !errors.Is(err, syscall.EIO) {
		t.Fatalf("%v", err)
	}
	disk.syncFail.Store(false)
	until(t, "the disk", s.Accepts)
	mustAppend(t, s, record(3, 3))
	if got := drain(t, s); got[1] == nil || got[2] != nil || got[3] == nil {
		t.Fatal(got)
	}
}

func TestADirectoryOfAnotherNodeIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Dir: dir, Node: "garibaldi-2", MaxBytes: 1 << 20})
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), `of "garibaldi-1" and this node is "garibaldi-2"`) {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "node")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[3] ^= 1 // damaged: the records must not be locked away by it
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if _, err := Open(Options{Dir: dir, Node: "garibaldi-1"}); err == nil || !strings.Contains(err.Error(), "open already") {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestADirectoryThatCannotBeMadeIsTold(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Dir: filepath.Join(name, "spool"), Node: "n"})
	if err == nil || !strings.Contains(err.Error(), "opening the spool "+name) {
		t.Fatal(err)
	}
}

func TestClosedRefuses(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(record(1, 1)); !errors.Is(err, ErrClosed) || s.Accepts() {
		t.Fatal(err)
	}
	if err := s.Append(Record{}); !errors.Is(err, ErrSize) {
		t.Fatal(err)
	}
}

// TestO30DamagedPiecesAreBounded: what is kept aside takes no more than the spool may, and what
// is not kept is counted.
func TestO30DamagedPiecesAreBounded(t *testing.T) {
	dir, segment, at := written(t, 3)
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	b[at[1]+50] ^= 1
	if err := os.WriteFile(segment, b, 0o600); err != nil {
		t.Fatal(err)
	}
	earlier := filepath.Join(dir, damagedPrefix+"of-long-ago.bin")
	if err := os.WriteFile(earlier, make([]byte, minBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	small := func(o *Options) { o.MaxBytes = minBytes }
	s := open(t, dir, small)
	if st := s.Stats(); st.Damaged != 1 || st.Records != 2 || len(files(t, dir, damagedPrefix)) != 1 {
		t.Fatalf("%+v, %v", st, files(t, dir, damagedPrefix))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(earlier); err != nil {
		t.Fatal(err)
	}
	open(t, dir, small)
	if len(files(t, dir, damagedPrefix)) != 1 {
		t.Error("it is not kept where there is room")
	}
}

// deafFile is a file that gives an error instead of its bytes while the path to its disk is lost.
type deafFile struct {
	file
	lost *atomic.Bool
}

func (f *deafFile) ReadAt(b []byte, off int64) (int, error) {
	if f.lost.Load() {
		return 0, syscall.EIO
	}
	return f.file.ReadAt(b, off)
}

// TestR40ARecordThatCannotBeReadForAWhileIsNotLost: and what cannot be read for long is in nobody's way.
func TestR40ARecordThatCannotBeReadForAWhileIsNotLost(t *testing.T) {
	var lost atomic.Bool
	var passed atomic.Int64
	s := open(t, t.TempDir(), func(o *Options) {
		o.Now = func() time.Time { return time.Unix(1000, passed.Load()) }
		o.create = func(in *os.Root, name string) (file, error) {
			f, err := createFile(in, name)
			return &deafFile{f, &lost}, err
		}
	})
	for i := range 3 {
		mustAppend(t, s, record(uint64(i), i))
	}
	lost.Store(true)
	for range 3 {
		if d, ok := s.Next(1); ok {
			t.Fatalf("%+v of a disk that cannot be read", d)
		}
	}
	lost.Store(false)
	passed.Add(int64(retryDisk))
	if got := drain(t, s); len(got) != 3 || s.Stats().Damaged != 0 {
		t.Fatalf("%v are left, %+v", got, s.Stats())
	}

	mustAppend(t, s, record(7, 7), record(7, 8))
	lost.Store(true)
	if _, ok := s.Next(1); ok {
		t.Fatal("read")
	}
	passed.Add(int64(unreadTime))
	if _, ok := s.Next(1); ok {
		t.Fatal("read")
	}
	lost.Store(false)
	passed.Add(int64(retryDisk))
	if got := drain(t, s); len(got[7]) != 1 || got[7][0] != 8 || s.Stats().Damaged != 1 {
		t.Errorf("%v, %+v", got, s.Stats())
	}
}

// TestR40ARecordThatCannotBeCopiedForwardForAWhileIsNotLost.
func TestR40ARecordThatCannotBeCopiedForwardForAWhileIsNotLost(t *testing.T) {
	var lost atomic.Bool
	var passed atomic.Int64
	s := open(t, t.TempDir(), func(o *Options) {
		o.MaxBytes = minBytes
		o.Now = func() time.Time { return time.Unix(1000, passed.Load()) }
		o.create = func(in *os.Root, name string) (file, error) {
			f, err := createFile(in, name)
			return &deafFile{f, &lost}, err
		}
	})
	const kept = 10
	for i := range kept {
		r := record(uint64(i), i)
		r.Queue = 2
		mustAppend(t, s, r)
	}
	for n := kept; n < 800; n += 20 { // far above an eighth of the bound
		var some []Record
		for i := range 20 {
			some = append(some, record(uint64(n+i), n+i))
		}
		mustAppend(t, s, some...)
		lost.Store(false)
		drain(t, s)
		lost.Store(true)
	}
	until(t, "an attempt to copy", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.copyAt > 0
	})
	if st := s.Stats(); st.Records != kept || st.Damaged != 0 {
		t.Fatalf("%+v", st)
	}
	lost.Store(false)
	passed.Add(int64(2 * retryDisk))
	until(t, "the copy", func() bool { return s.Stats().Disk < minBytes/8+2*segmentSize(minBytes) })
	for i := range kept {
		d, ok := s.Next(2)
		if !ok || number(d.Data) != i {
			t.Fatalf("%+v, not record %d", d, i)
		}
		s.Done(d)
	}
}
