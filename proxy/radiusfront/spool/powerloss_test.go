package spool

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// powerDisk is a disk behind a cache: what was not synced is gone with the power, or half of it.
type powerDisk struct {
	mu      sync.Mutex
	files   []*powerFile // as they were created
	removed int          // of the oldest, whose removal is known to last
}

// powerFile is one file of it. The file itself is what the program sees.
type powerFile struct {
	file
	disk   *powerDisk
	path   string
	synced []byte
	cached []cachedWrite
}

type cachedWrite struct {
	at int64
	b  []byte
}

func (d *powerDisk) options(o *Options) {
	o.MaxBytes = minBytes
	o.create = func(in *os.Root, name string) (file, error) {
		f, err := createFile(in, name)
		if err != nil {
			return nil, err
		}
		p := &powerFile{file: f, disk: d, path: filepath.Join(in.Name(), name)}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.files = append(d.files, p)
		return p, nil
	}
}

func (f *powerFile) WriteAt(b []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	f.cached = append(f.cached, cachedWrite{at, bytes.Clone(b)})
	f.disk.mu.Unlock()
	return f.file.WriteAt(b, at)
}

// Sync makes last what was written before it began.
func (f *powerFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	for _, w := range f.cached {
		f.synced = w.onto(f.synced, func() bool { return true })
	}
	f.cached = nil
	return nil
}

// sector is what a disk writes at once.
const sector = 512

// onto writes those sectors that reach the disk.
func (w cachedWrite) onto(b []byte, reaches func() bool) []byte {
	for from := int64(0); from < int64(len(w.b)); {
		to := min(int64(len(w.b)), from+sector-(w.at+from)%sector)
		if reaches() {
			if end := w.at + to; end > int64(len(b)) {
				b = append(b, make([]byte, end-int64(len(b)))...)
			}
			copy(b[w.at+from:], w.b[from:to])
		}
		from = to
	}
	return b
}

// powerLoss is the directory that is found after one. Of what was cached everything reached the disk, nothing, or any
// part; files that were removed may be back, the last ones first.
func (d *powerDisk) powerLoss(t *testing.T, dir string, rng *rand.Rand) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	to := t.TempDir()
	node, err := os.ReadFile(filepath.Join(dir, "node"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "node"), node, 0o600); err != nil {
		t.Fatal(err)
	}
	gone := d.removed
	for gone < len(d.files) {
		if _, err := os.Stat(d.files[gone].path); err == nil {
			break
		}
		gone++
	}
	d.removed += rng.IntN(gone - d.removed + 1)
	share := []float64{0, 1, rng.Float64()}[rng.IntN(3)]
	for _, f := range d.files[d.removed:] {
		b := bytes.Clone(f.synced)
		for _, w := range f.cached {
			b = w.onto(b, func() bool { return rng.Float64() < share })
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(f.path)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// ledger is what who stores and delivers knows.
type ledger struct {
	mu     sync.Mutex
	acked  map[int]uint64 // session by record
	done   []int          // in their order
	noted  int            // of done: before a record was stored that is acknowledged
	failed error
}

// submit stores a record. Its acknowledgement shows that all that was over before is noted.
func (l *ledger) submit(t *testing.T, s *Spool, r Record, n int, ended func()) {
	t.Helper()
	l.mu.Lock()
	over := len(l.done)
	l.mu.Unlock()
	if err := s.Submit(r, func(_ Ref, err error) {
		defer ended()
		l.mu.Lock()
		defer l.mu.Unlock()
		if err != nil {
			l.failed = err
			return
		}
		l.acked[n] = r.Session
		l.noted = max(l.noted, over)
	}); err != nil {
		t.Fatal(err)
	}
}

// TestR40PowerLoss: what was not synced is gone, or torn. What was acknowledged is there, whole and in the order of its
// session; what was over before something was acknowledged does not come back.
func TestR40PowerLoss(t *testing.T) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 40))
		dir := t.TempDir()
		var disk powerDisk
		s := open(t, dir, disk.options)
		l := &ledger{acked: map[int]uint64{}}
		losses, copied, segments := 0, false, 0
		for n := 0; losses < 25; {
			var wg sync.WaitGroup
			for range 1 + rng.IntN(60) {
				wg.Add(1)
				session := uint64(rng.IntN(40))
				if n == 0 {
					session = 1000 // one that is never delivered: it is copied forward again and again
				}
				l.submit(t, s, record(session, n), n, wg.Done)
				n++
			}
			if rng.IntN(3) == 0 {
				losses++
				l.judge(t, &disk, dir, rng) // some wait for the disk at this moment
			}
			wg.Wait()
			for range rng.IntN(70) {
				d, ok := s.Next(1)
				if !ok {
					break
				}
				switch {
				case d.Session == 1000:
					s.Again(d, 0, false)
				case rng.IntN(200) == 0:
					s.SetAside(d)
				default:
					l.mu.Lock()
					l.done = append(l.done, number(d.Data))
					l.mu.Unlock()
					s.Done(d)
				}
			}
			if rng.IntN(6) == 0 {
				losses++
				l.judge(t, &disk, dir, rng)
			}
			disk.mu.Lock()
			segments = max(segments, len(disk.files))
			disk.mu.Unlock()
			s.mu.Lock()
			copied = copied || s.segments[0].ordinal > 1
			s.mu.Unlock()
		}
		if l.failed != nil || !copied || segments < 10 {
			t.Fatalf("%v; copied forward: %v, %d segments: this proves little", l.failed, copied, segments)
		}
	}
}

// judge lets the power fail at this moment, and looks at what is left.
func (l *ledger) judge(t *testing.T, disk *powerDisk, dir string, rng *rand.Rand) {
	t.Helper()
	l.mu.Lock()
	must := map[int]uint64{}
	for n, session := range l.acked {
		must[n] = session
	}
	for _, n := range l.done {
		delete(must, n)
	}
	over := slices.Clone(l.done[:l.noted])
	l.mu.Unlock()
	s, err := Open(Options{Dir: disk.powerLoss(t, dir, rng), Node: "garibaldi-1", MaxBytes: minBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	has := map[int]bool{}
	if err := s.Walk(0, true, func(_ Info, data []byte, err error) bool {
		if err != nil {
			t.Error(err)
			return true
		}
		has[number(data)] = true
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for session, list := range drain(t, s) {
		if !slices.IsSorted(list) {
			t.Fatalf("session %d: %v", session, list)
		}
		for _, n := range list {
			has[n] = true
		}
	}
	for n, session := range must {
		if !has[n] {
			t.Fatalf("record %d of session %d was acknowledged and is lost", n, session)
		}
	}
	for _, n := range over {
		if has[n] {
			t.Fatalf("record %d was delivered and noted, and is back", n)
		}
	}
}
