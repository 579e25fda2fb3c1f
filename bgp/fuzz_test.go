package bgp

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestO30ASpeakersWordsAreBounded: whatever a child writes, its lines are short, and nothing of
// what has no end is kept.
func TestO30ASpeakersWordsAreBounded(t *testing.T) {
	longest, lines := 0, 0
	w := &lineWriter{line: func(s string) { longest, lines = max(longest, len(s)), lines+1 }}
	for range 1000 {
		if n, err := w.Write(bytes.Repeat([]byte("x"), 4000)); n != 4000 || err != nil {
			t.Fatal(n, err)
		}
	}
	if longest != maxLine || lines != 1000*4000/maxLine || len(w.rest) >= maxLine {
		t.Errorf("%d lines of up to %d bytes, %d are left", lines, longest, len(w.rest))
	}
}

// FuzzMemory: whatever stands in the file of flaps, a node starts with it; none counts
// from the future or for longer than an hour, their number is bounded, and what is
// written is read the same.
func FuzzMemory(f *testing.F) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	m := &memory{Version: 1, Entries: map[string]*memEntry{}}
	m.flap("dns-vip", now.Add(-time.Minute))
	m.entry("radius-vip").Announced = true
	b, err := m.encode(now.Add(-time.Second), true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"running":true,"alive":"9999-12-31T23:59:59Z","entries":{"a":null,"b":{"announced":true,"flaps":["2030-01-01T00:00:00Z","0000-01-01T00:00:00Z"]}}}`))
	f.Add([]byte(`{"entries":null}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{torn`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := saveMemory(dir, b); err != nil {
			t.Fatal(err)
		}
		m, err := loadMemory(dir, now)
		if err != nil && (len(m.Entries) > 0 || !m.unclean.Equal(now)) {
			t.Fatalf("%v, and %+v", err, m)
		}
		if m.unclean.After(now) {
			t.Fatalf("a run ended at %v", m.unclean)
		}
		for name, e := range m.Entries {
			if len(e.Flaps) > maxFlaps || m.flaps(name, now) != len(e.Flaps) || m.flaps(name, now.Add(flapWindow)) != 0 {
				t.Fatalf("%q: %v", name, e.Flaps)
			}
			if e.Announced {
				t.Fatalf("%q is announced before it was decided", name)
			}
		}
		m.flap("dns-vip", now)
		b, err = m.encode(now, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := saveMemory(dir, b); err != nil {
			t.Fatal(err)
		}
		again, err := loadMemory(dir, now)
		if err != nil || len(again.Entries) != len(m.Entries) || !again.unclean.IsZero() {
			t.Fatalf("written %s\nread %+v, %v", b, again, err)
		}
		for name := range m.Entries {
			if again.flaps(name, now) != m.flaps(name, now) {
				t.Fatalf("%q: written %v, read %v", name, m.Entries[name].Flaps, again.Entries[name])
			}
		}
	})
}

// FuzzAddresses: of the file of addresses only whole ones are believed, since what it
// names is taken away; what is written is read the same.
func FuzzAddresses(f *testing.F) {
	f.Add([]byte(`[{"interface":"lo","address":"192.0.2.53"},{"interface":"lo","address":"2001:db8::53"}]`))
	f.Add([]byte(`[{"interface":"lo","address":""},{"address":"192.0.2.53"},{}]`))
	f.Add([]byte(`[{"interface":"eth0","address":"fe80::1%eth0"},{"interface":"lo","address":"::ffff:192.0.2.1"}]`))
	f.Add([]byte(`null`))
	f.Add([]byte(`[{torn`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, addressesFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := NewAddresses(dir, nil)
		if err != nil {
			if len(a.own) > 0 {
				t.Fatalf("%v, and %v", err, a.own)
			}
			return // the node does not start with it
		}
		for x := range a.own {
			n := x.netlink()
			if ones, bits := n.Mask.Size(); x.Interface == "" || len(n.IP) == 0 || ones != 8*len(n.IP) || bits != ones {
				t.Fatalf("%+v would be taken away", x)
			}
		}
		if a.save(); a.unnoted {
			t.Fatal("it is not noted")
		}
		again, err := NewAddresses(dir, nil)
		if err != nil || len(again.own) != len(a.own) {
			t.Fatalf("%v, and %v of %v", err, again.own, a.own)
		}
		for x := range a.own {
			if !again.own[x] {
				t.Fatalf("%v is lost", x)
			}
		}
	})
}
