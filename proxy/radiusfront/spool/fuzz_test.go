package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var fuzzSalt = [saltLen]byte{1, 2, 3, 4, 5, 6, 7, 8}

// seeds are segments: one that a spool wrote, and one with a frame of each kind.
func seeds(f *testing.F) {
	dir, segment, at := written(f, 3)
	b, err := os.ReadFile(segment)
	if err != nil {
		f.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		f.Fatal(err)
	}
	f.Add(b, true)
	f.Add(b[:at[2]+20], true)
	var all []byte
	for _, x := range []frame{
		{kind: kindRecord, class: Stop, id: 1, at: 5, session: 9, queue: 2, payload: []byte("one")},
		{kind: kindAside, class: Start, id: 2, at: 5, session: 9, queue: 2, payload: []byte("two")},
		{kind: kindRecord, class: Interim, id: 3, at: -5, session: 10, queue: 2, payload: []byte("three")},
		{kind: kindMove, class: 1, id: 3},
		{kind: kindDone, payload: binary.BigEndian.AppendUint64(nil, 1)},
		{kind: kindDone, payload: []byte("odd")},
		{kind: 77, payload: []byte("of a later version")},
	} {
		all = appendFrame(all, &fuzzSalt, &x)
	}
	f.Add(all, false)
	f.Add([]byte(magic), false)
}

// mend gives everything that looks like a frame a checksum that is right.
func mend(b []byte) []byte {
	b = bytes.Clone(b)
	for off := 0; off+headerLen <= len(b); {
		n := int(binary.BigEndian.Uint32(b[off+8:]))
		if string(b[off:off+4]) != magic || n > maxPayload || off+headerLen+n > len(b) {
			off++
			continue
		}
		end := off + headerLen + n
		binary.BigEndian.PutUint32(b[off+4:], checksum(&fuzzSalt, b[off+8:end]))
		off = end
	}
	return b
}

// FuzzSegment: whatever stands in a segment, frames and damage cover each of its bytes
// once, in order, and a frame that was read is written the same again.
func FuzzSegment(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte, whole bool) {
		if whole {
			b = mend(b)
		}
		type part struct{ from, to int }
		var sound []part
		bad := scan(b, &fuzzSalt, func(x *frame, off, size int) {
			sound = append(sound, part{off, off + size})
			again := appendFrame(nil, &fuzzSalt, x)
			copy(again[14:16], b[off+14:]) // nobody reads them
			binary.BigEndian.PutUint32(again[4:], checksum(&fuzzSalt, again[8:]))
			if !bytes.Equal(again, b[off:off+size]) {
				t.Fatalf("%x is written as %x", b[off:off+size], again)
			}
			doneIDs(x.payload, func(uint64) {})
		})
		for at := 0; at < len(b); {
			switch {
			case len(sound) > 0 && sound[0].from == at:
				at, sound = sound[0].to, sound[1:]
			case len(bad) > 0 && bad[0].from == at && bad[0].to > at:
				at, bad = bad[0].to, bad[1:]
			default:
				t.Fatalf("nothing is told of byte %d: %v, %v", at, sound, bad)
			}
		}
		if len(sound)+len(bad) > 0 {
			t.Fatalf("behind the end: %v, %v", sound, bad)
		}
	})
}

// FuzzSegmentName: a name that is read is the one that a segment of that order and salt
// gets, but for the case of its digits.
func FuzzSegmentName(f *testing.F) {
	f.Add(segmentName(1, &fuzzSalt))
	f.Add("seg-000000000000000A-0102030405060708.log")
	f.Add("seg-+00000000000000a-0102030405060708.log")
	f.Add("seg--.log")
	f.Fuzz(func(t *testing.T, name string) {
		ordinal, salt, ok := parseSegmentName(name)
		if ok && !strings.EqualFold(segmentName(ordinal, &salt), name) {
			t.Fatalf("%q is read as %q", name, segmentName(ordinal, &salt))
		}
	})
}

// FuzzOpen: a spool opens whatever stands in a segment and beside it, and goes on; what
// it found is there again the next time, and nothing is damaged twice.
func FuzzOpen(f *testing.F) {
	dir, segment, _ := written(f, 3)
	b, err := os.ReadFile(segment)
	if err != nil {
		f.Fatal(err)
	}
	node, err := os.ReadFile(filepath.Join(dir, "node"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, true, string(node))
	f.Add(b[:len(b)-7], true, "")
	f.Add(append(bytes.Clone(b), "rubbish"...), true, "garibaldi-2\n00000000\n")
	f.Fuzz(func(t *testing.T, b []byte, whole bool, node string) {
		if whole {
			b = mend(b)
		}
		dir := t.TempDir()
		for name, content := range map[string]string{segmentName(7, &fuzzSalt): string(b), "node": node} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		files, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		looked, owner := files.Stats(), files.Node
		if err := files.Close(); err != nil {
			t.Fatal(err)
		}
		o := Options{Dir: dir, Node: "garibaldi-1", MaxBytes: 1 << 20}
		s, err := Open(o)
		if err != nil {
			if errors.Is(err, ErrForeign) && owner != "" && owner != o.Node {
				return
			}
			t.Fatal(err)
		}
		first := s.Stats()
		if first.Records != looked.Records || first.Aside != looked.Aside || first.Bytes != looked.Bytes || first.Disk > looked.Disk {
			t.Fatalf("looked at: %+v\nopened: %+v", looked, first)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(o); err != nil {
			t.Fatal(err)
		}
		again := s.Stats()
		if again.Records != first.Records || again.Aside != first.Aside || again.Damaged != 0 {
			t.Fatalf("at first: %+v\nagain: %+v", first, again)
		}
		mustAppend(t, s, record(1, 1))
		for n := int64(0); ; n++ {
			d, ok := s.Next(1)
			if !ok {
				if n > first.Records+1 {
					t.Fatalf("%d delivered of %d", n, first.Records+1)
				}
				break
			}
			s.Done(d)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
