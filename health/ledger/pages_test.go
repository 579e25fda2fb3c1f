package ledger

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestA31APageThatLeadsNowhere spoils the tree of pages: one that leads back to itself would keep bbolt going for ever,
// and a length beyond the page would be a piece of our memory.
func TestA31APageThatLeadsNowhere(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.db")
	l, err := Open(good, Options{Now: Moment{Wall: start}, Keep: 400 * day, Every: beat})
	if err != nil {
		t.Fatal(err)
	}
	var last Moment
	for i := range 3000 {
		last = Moment{Wall: start.Add(time.Duration(i) * beat), Elapsed: time.Duration(i) * beat}
		l.set(l.advance(last), resolver, State(1+i%4), strings.Repeat("why ", 10))
	}
	if err := errors.Join(l.Beat(last, nil), l.Close(last)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	size, spoilt, noticed := os.Getpagesize(), 0, 0
	for at := 2 * size; at < len(data); at += size {
		p := data[at:]
		id, flags, count := binary.NativeEndian.Uint64(p), binary.NativeEndian.Uint16(p[8:]), binary.NativeEndian.Uint16(p[10:])
		for what, spoil := range map[string]func(p []byte){
			"leads to itself":          func(p []byte) { binary.NativeEndian.PutUint64(p[pageHead+8:], id) },
			"leads behind the end":     func(p []byte) { binary.NativeEndian.PutUint64(p[pageHead+8:], 1<<40) },
			"has a key of 4 GB":        func(p []byte) { binary.NativeEndian.PutUint32(p[pageHead+4:], 1<<32-1) },
			"has more than there is":   func(p []byte) { binary.NativeEndian.PutUint16(p[10:], 1<<16-1) },
			"is of no kind":            func(p []byte) { binary.NativeEndian.PutUint16(p[8:], 0x80) },
			"goes on behind the end":   func(p []byte) { binary.NativeEndian.PutUint32(p[12:], 1<<31) },
			"calls itself another one": func(p []byte) { binary.NativeEndian.PutUint64(p, id+1) },
		} {
			if flags != branchPage || count == 0 {
				continue // of what is free now nothing is read
			}
			spoilt++
			bad := append([]byte(nil), data...)
			spoil(bad[at:])
			path, said := filepath.Join(t.TempDir(), "ledger.db"), ""
			write(t, path, bad)
			l, err := Open(path, Options{Now: last, Keep: 400 * day, Every: beat, Warn: func(s string) { said = s }})
			if err != nil {
				t.Fatal(err)
			}
			// A branch that is free meanwhile is nobody's; all others are missed.
			if said == "" && l.books[resolver] == nil {
				t.Errorf("page %d %s: everything is gone, and nothing was said", id, what)
			}
			if said != "" {
				noticed++
				if !strings.Contains(said, "damaged") {
					t.Errorf("page %d %s: %s", id, what, said)
				}
			}
			if err := l.Close(last); err != nil {
				t.Error(err)
			}
		}
	}
	if noticed < 7 {
		t.Fatalf("%d of %d were noticed: the file has no branch that is in use", noticed, spoilt)
	}
}
