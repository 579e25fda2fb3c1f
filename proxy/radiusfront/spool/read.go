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

// ErrRunning means that a process has the directory open.
var ErrRunning = errors.New("a running node has it open")

// Files is a spool's directory that is only looked at: nothing in it is changed,
// created or locked against a node that starts.
type Files struct {
	s *Spool
	// Node is whose it is, "" if that cannot be read.
	Node   string
	Damage []Damage
}

// Damage is a stretch of a segment that holds no sound record.
type Damage struct {
	File     string
	From, To int  // bytes
	Tail     bool // the end of the last segment: a write that never ended, and was never acknowledged
}

// Read reads the directory of a node that has ended, or a copy of one. It takes
// the memory that the node would take. ErrRunning.
func Read(dir string) (*Files, error) {
	out, err := read(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the spool %s: %w", dir, err)
	}
	return out, nil
}

func read(dir string) (*Files, error) {
	now := time.Now()
	s := &Spool{opts: Options{Dir: dir}, now: func() time.Time { return now }, base: now, next: 1, index: newIndex(), readOnly: true}
	s.max.Store(minBytes)
	f, err := os.Open(filepath.Join(dir, "node"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		defer func() { _ = f.Close() }() // read only
		if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
			return nil, ErrRunning
		}
	}
	out := &Files{s: s}
	r, err := s.restore()
	if err == nil && len(s.segments) == 0 && f == nil {
		err = errors.New("there is no spool in it: name the service's own directory, STATE_DIR/spool/SERVICE")
	}
	if err != nil {
		_ = out.Close() // being given up
		return nil, err
	}
	out.Damage = r.damage
	if f != nil {
		content, _ := os.ReadFile(f.Name()) // it is only shown
		if name, sum, _ := strings.Cut(strings.TrimSuffix(string(content), "\n"), "\n"); sum == nameSum(name) {
			out.Node = name
		}
	}
	return out, nil
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
