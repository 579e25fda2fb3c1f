package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Why a directory is not read.
var (
	ErrRunning = errors.New("a running node has it open")
	ErrChanged = errors.New("its files changed while they were read: a node was started meanwhile; try again")
)

// Files is a spool's directory that is only looked at: nothing in it is changed,
// created or locked against a node that starts.
type Files struct {
	s *Spool
	// Node is whose it is, "" if that cannot be read.
	Node   string
	Damage []Damage
	// Noted is up to when the ends of records are noted, by the node's clock: a record that was delivered later is
	// still among them. Zero when no note is left.
	Noted time.Time
}

// Damage is a stretch of a segment that holds no sound record.
type Damage struct {
	File     string
	From, To int  // bytes
	Tail     bool // the end of the last segment: a write that never ended, and was never acknowledged
}

// Read reads the directory of a node that has ended, or a copy of one. It takes
// the memory that the node would take. A node may start meanwhile: it is not kept from its spool. ErrRunning,
// ErrChanged.
func Read(dir string) (*Files, error) {
	out, err := read(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the spool %s: %w", dir, err)
	}
	return out, nil
}

func read(dir string) (*Files, error) {
	now := time.Now()
	s := &Spool{opts: Options{Dir: dir}, now: func() time.Time { return now }, base: now, next: 1, index: newIndex(), unread: map[*entry]time.Duration{}, readOnly: true}
	s.max.Store(minBytes)
	owned, err := idle(dir)
	if err != nil {
		return nil, err
	}
	out := &Files{s: s}
	r, err := s.restore()
	if err == nil && len(s.segments) == 0 && !owned {
		err = errors.New("there is no spool in it: name the service's own directory, STATE_DIR/spool/SERVICE")
	}
	if err == nil {
		err = s.unchanged()
	}
	if err != nil {
		_ = out.Close() // being given up
		return nil, err
	}
	out.Damage = r.damage
	if r.noted > 0 {
		out.Noted = time.Unix(0, r.noted)
	}
	if owned {
		content, _ := os.ReadFile(filepath.Join(dir, "node")) // it is only shown
		if name, sum, _ := strings.Cut(strings.TrimSuffix(string(content), "\n"), "\n"); sum == nameSum(name) {
			out.Node = name
		}
	}
	return out, nil
}

// idle demands that no process has the directory open, and tells whether one ever had. The lock is given back at once:
// a node that starts waits that long (ownPatience).
func idle(dir string) (owned bool, err error) {
	f, err := os.Open(filepath.Join(dir, "node"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // read only
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil {
		return false, ErrRunning
	}
	return true, nil
}

// unchanged demands that what was read is what the directory still holds: no node came in between.
func (s *Spool) unchanged() error {
	if _, err := idle(s.opts.Dir); err != nil {
		return err
	}
	names, err := os.ReadDir(s.opts.Dir)
	if err != nil {
		return err
	}
	n := 0
	for _, name := range names {
		if _, _, is := parseSegmentName(name.Name()); is {
			n++
		}
	}
	for _, g := range s.segments {
		if in, err := os.Stat(filepath.Join(s.opts.Dir, g.name())); err != nil || in.Size() != g.size {
			return ErrChanged
		}
	}
	if n != len(s.segments) {
		return ErrChanged
	}
	return nil
}

// Walk is as that of a Spool.
func (f *Files) Walk(after uint64, aside bool, each func(Info, []byte, error) bool) error {
	return f.s.Walk(after, aside, each)
}

// Get is as that of a Spool.
func (f *Files) Get(id uint64) (Info, []byte, error) { return f.s.Get(id) }

// Stats are its figures.
func (f *Files) Stats() Stats { return f.s.Stats() }

// Close closes the files.
func (f *Files) Close() error {
	var first error
	for _, g := range f.s.segments {
		if err := g.file.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
