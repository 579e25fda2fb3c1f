package spool

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// file is what a segment needs of an *os.File.
type file interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// segment is one file. Its fields belong to Spool.mu, except size, which only
// the writer changes.
type segment struct {
	ordinal uint64
	salt    [saltLen]byte
	file    file
	size    int64
	live    int64 // bytes of records that are not over
	entries []*entry
	cursor  int // entries before it are over or elsewhere
	readers int // who reads it now: it is not closed under them
}

func (g *segment) add(e *entry) {
	e.segment = g
	g.entries = append(g.entries, e)
	g.live += int64(e.size)
}

// leave takes an entry out.
func (g *segment) leave(e *entry) {
	g.live -= int64(e.size)
	e.segment = nil
	if g.live == 0 {
		g.entries, g.cursor = nil, 0
	}
}

const (
	segmentPrefix = "seg-"
	segmentSuffix = ".log"
)

// segmentName bears the order and the salt, so that neither can be damaged with
// a segment's bytes.
func segmentName(ordinal uint64, salt *[saltLen]byte) string {
	return fmt.Sprintf("%s%016x-%s%s", segmentPrefix, ordinal, hex.EncodeToString(salt[:]), segmentSuffix)
}

func (g *segment) name() string { return segmentName(g.ordinal, &g.salt) }

func parseSegmentName(name string) (ordinal uint64, salt [saltLen]byte, ok bool) {
	rest, is := strings.CutPrefix(name, segmentPrefix)
	rest, is2 := strings.CutSuffix(rest, segmentSuffix)
	number, hexSalt, is3 := strings.Cut(rest, "-")
	if !is || !is2 || !is3 || len(number) != 16 {
		return 0, salt, false
	}
	ordinal, err := strconv.ParseUint(number, 16, 64)
	if err != nil {
		return 0, salt, false
	}
	b, err := hex.DecodeString(hexSalt)
	if err != nil || len(b) != saltLen {
		return 0, salt, false
	}
	copy(salt[:], b)
	return ordinal, salt, true
}

func createFile(in *os.Root, name string) (file, error) {
	f, err := in.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err // not f: a nil *os.File in an interface is not nil
	}
	return f, nil
}

// syncDir makes the names in a directory last.
func syncDir(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// segmentSize is how long a segment gets: small against the bound, so that
// little of it is bound by garbage, and large enough to be few.
func segmentSize(maxBytes int64) int64 {
	return min(max(maxBytes/64, 16<<10), 8<<20)
}

// begin opens a new segment for writing.
func (s *Spool) begin() error {
	s.ordinal++
	g := &segment{ordinal: s.ordinal, salt: s.salt}
	f, err := s.opts.create(s.root, g.name())
	if err != nil {
		return err
	}
	if err := syncDir(s.root); err != nil {
		_ = f.Close()               // nothing is in it
		_ = s.root.Remove(g.name()) // likewise
		return err
	}
	g.file = f
	s.mu.Lock()
	s.segments = append(s.segments, g)
	s.mu.Unlock()
	s.active = g
	return nil
}
