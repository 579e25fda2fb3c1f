package spool

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// minBytes is the least bound.
	minBytes = 1 << 20
	// ownPatience is how long Open waits for a directory's lock: who only reads it (Read) holds it for a moment.
	ownPatience = 500 * time.Millisecond
)

// ErrForeign means that the directory belongs to another node: delivering its
// records here would deliver them twice.
var ErrForeign = errors.New("the spool's directory belongs to another node")

// Open reads what an earlier process left, sound records and notes, keeps aside
// what is damaged, and starts the spool's goroutine. It fails when the directory
// cannot be made or written, is open elsewhere, or bears another node's name.
func Open(o Options) (*Spool, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.create == nil {
		o.create = createFile
	}
	s := &Spool{
		opts: o, now: o.Now, base: o.Now(), coalesce: o.Coalesce, next: 1, index: newIndex(), unread: map[*entry]time.Duration{},
		wake: make(chan struct{}, 1), ready: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	s.max.Store(max(o.MaxBytes, minBytes))
	owner, err := claim(o.Dir, o.Node)
	if err != nil {
		return nil, fmt.Errorf("opening the spool %s: %w", o.Dir, err)
	}
	if s.root, err = os.OpenRoot(o.Dir); err == nil {
		_, err = s.restore()
	}
	if err != nil {
		for _, g := range s.segments {
			_ = g.file.Close() // being given up
		}
		if s.root != nil {
			_ = s.root.Close() // likewise
		}
		_ = owner.Close() // likewise
		return nil, fmt.Errorf("opening the spool %s: %w", o.Dir, err)
	}
	s.owner = owner
	s.countDamaged()
	go s.write()
	return s, nil
}

// Exists tells whether a directory may hold records.
func Exists(dir string) bool {
	names, _ := os.ReadDir(dir) // what cannot be read, Open will tell
	return slices.ContainsFunc(names, func(n os.DirEntry) bool {
		_, _, is := parseSegmentName(n.Name())
		return is
	})
}

// claim makes the directory this node's and locks it.
func claim(dir, node string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "node")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := own(f, dir, node); err != nil {
		_ = f.Close() // nothing was written, or what failed is told
		return nil, err
	}
	return f, nil
}

func own(f *os.File, dir, node string) error {
	for until := time.Now().Add(ownPatience); ; time.Sleep(ownPatience / 100) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(until) {
			return fmt.Errorf("it is open already: %w", err)
		}
	}
	content, err := os.ReadFile(f.Name())
	if err != nil {
		return err
	}
	name, sum, _ := strings.Cut(strings.TrimSuffix(string(content), "\n"), "\n")
	sound := sum == nameSum(name)
	switch {
	case sound && name == node:
		return nil
	case sound:
		return fmt.Errorf("%w: it is of %q and this node is %q; give this node a state_dir of its own, or, if it was renamed, delete %s", ErrForeign, name, node, f.Name())
	}
	// New, or damaged: the name is only a guard and is written anew.
	text := node + "\n" + nameSum(node) + "\n"
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // read only
	return syncDir(root)
}

func nameSum(name string) string {
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(name), castagnoli))
}

// restore reads every segment.
func (s *Spool) restore() (*recovery, error) {
	r := &recovery{s: s, records: map[uint64]*entry{}, keys: map[uint64]recovered{}}
	names, err := os.ReadDir(s.opts.Dir)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		ordinal, salt, ok := parseSegmentName(n.Name())
		if !ok {
			continue
		}
		s.segments = append(s.segments, &segment{ordinal: ordinal, salt: salt})
	}
	slices.SortFunc(s.segments, func(a, b *segment) int { return cmp.Compare(a.ordinal, b.ordinal) })
	if len(s.segments) == 0 {
		_, _ = rand.Read(s.salt[:]) // never fails (crypto/rand)
		return r, nil
	}
	last := s.segments[len(s.segments)-1]
	s.salt, s.ordinal = last.salt, last.ordinal
	segments := s.segments
	s.segments = nil
	flag := os.O_RDWR
	if s.readOnly {
		flag = os.O_RDONLY
	}
	for _, g := range segments {
		f, err := os.OpenFile(filepath.Join(s.opts.Dir, g.name()), flag, 0o600)
		if err != nil {
			return nil, err
		}
		g.file = f
		s.segments = append(s.segments, g)
		if err := r.read(g, g == last); err != nil {
			return nil, err
		}
	}
	r.finish()
	return r, nil
}

// recovery is what Open learns from the segments.
type recovery struct {
	s       *Spool
	records map[uint64]*entry
	keys    map[uint64]recovered
	damage  []Damage // of a directory that is only read
	noted   int64    // when the newest note was taken, Unix nanoseconds; 0: there is none
}

type recovered struct {
	session uint64
	queue   uint32
}

func (r *recovery) read(g *segment, last bool) error {
	path := filepath.Join(r.s.opts.Dir, g.name())
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	bad := scan(b, &g.salt, func(f *frame, off, size int) { r.frame(g, f, off, size) })
	g.size = int64(len(b))
	r.s.index.disk += g.size
	if r.s.readOnly {
		for _, d := range bad {
			r.damage = append(r.damage, Damage{File: path, From: d.from, To: d.to, Tail: last && d.to == len(b)})
		}
		return nil
	}
	for _, d := range bad {
		if r.s.keepDamaged(g.ordinal, d.from, b[d.from:d.to]) {
			r.s.counts.Damaged++
		}
	}
	if n := len(bad); last && n > 0 && bad[n-1].to == len(b) {
		// A torn tail was never acknowledged; it is kept aside and goes.
		if err := g.file.Truncate(int64(bad[n-1].from)); err != nil {
			return err
		}
		r.s.index.disk -= g.size - int64(bad[n-1].from)
		g.size = int64(bad[n-1].from)
	}
	return nil
}

func (r *recovery) frame(g *segment, f *frame, off, size int) {
	r.s.next = max(r.s.next, f.id+1)
	switch f.kind {
	case kindRecord, kindAside:
		e := r.records[f.id]
		if e == nil {
			e = &entry{id: f.id}
			r.records[f.id] = e
		}
		e.segment, e.off, e.size, e.class = g, uint32(off), uint32(size), f.class
		e.born = min(0, time.Unix(0, f.at).Sub(r.s.base)) // a clock that was set back makes nothing come from the future
		e.state = stateQueued
		if f.kind == kindAside {
			e.state = stateAside
		}
		r.keys[f.id] = recovered{session: f.session, queue: f.queue}
	case kindDone:
		r.noted = max(r.noted, f.at)
		doneIDs(f.payload, func(id uint64) {
			delete(r.records, id)
			delete(r.keys, id)
		})
	case kindMove:
		if e := r.records[f.id]; e != nil {
			e.state = stateQueued
			if f.class == 1 {
				e.state = stateAside
			}
		}
	}
}

// finish puts the records that are left where they belong, in their order.
func (r *recovery) finish() {
	all := make([]*entry, 0, len(r.records))
	for _, e := range r.records {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.id, b.id) })
	x := &r.s.index
	for _, e := range all {
		k := r.keys[e.id]
		e.session = x.session(k.session, k.queue)
		if e.state == stateAside {
			x.addAside(e)
		} else {
			x.add(e)
			x.back(e) // not by its time: the wall clock may have been set between two records
		}
	}
	for _, e := range all { // sessions of which every record is set aside
		if e.state == stateAside {
			x.forget(e.session)
		}
	}
	r.s.count.Store(int64(len(all)))
	r.s.counts.Recovered = uint64(x.list.live.n)
}

const damagedPrefix = "damaged-"

// keepDamaged keeps a damaged stretch in a file that bears its segment and
// offset, as long as all of them take no more than the spool may. It returns false
// when it was kept by an earlier process.
func (s *Spool) keepDamaged(ordinal uint64, off int, b []byte) bool {
	if damagedSize(s.root)+int64(len(b)) > s.max.Load() {
		return true // counted all the same
	}
	f, err := s.root.OpenFile(fmt.Sprintf(damagedPrefix+"%016x-%08x.bin", ordinal, off), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false
	}
	if err != nil {
		return true // counted all the same; the segment still has it
	}
	_, _ = f.Write(b) // evidence, as far as the disk takes it
	_ = f.Sync()
	_ = f.Close()
	return true
}

// damagedSize is how many bytes are kept aside in a directory.
func damagedSize(dir *os.Root) (size int64) {
	names, err := damagedNames(dir)
	if err != nil {
		return 0 // who writes will tell
	}
	for _, name := range names {
		if info, err := dir.Stat(name); err == nil {
			size += info.Size()
		}
	}
	return size
}

// damagedNames are the files of what is kept aside.
func damagedNames(dir *os.Root) ([]string, error) {
	d, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // read only
	names, err := d.Readdirnames(-1)
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, damagedPrefix) }), err
}
