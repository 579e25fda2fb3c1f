package spool

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const testTimeout = 20 * time.Second // of a test that would hang otherwise; nothing is proven by it

func open(t testing.TB, dir string, change ...func(*Options)) *Spool {
	t.Helper()
	o := Options{Dir: dir, Node: "garibaldi-1", MaxBytes: 64 << 20}
	for _, f := range change {
		f(&o)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // the test may have closed it
	return s
}

// record is one with a payload that names it.
func record(session uint64, n int) Record {
	data := binary.BigEndian.AppendUint64(nil, uint64(n))
	data = append(data, fmt.Sprintf(" session %d record %d ", session, n)...)
	for len(data) < 200 {
		data = append(data, byte(n))
	}
	return Record{Session: session, Queue: 1, Class: Stop, Data: data}
}

func number(data []byte) int { return int(binary.BigEndian.Uint64(data)) }

func mustAppend(t testing.TB, s *Spool, records ...Record) {
	t.Helper()
	var wg sync.WaitGroup
	for _, r := range records {
		wg.Add(1)
		if err := s.Submit(r, func(_ Ref, err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		}); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

// drain delivers everything and gives the records' numbers by session.
func drain(t testing.TB, s *Spool) map[uint64][]int {
	t.Helper()
	out := map[uint64][]int{}
	for {
		d, ok := s.Next(1)
		if !ok {
			return out
		}
		out[d.Session] = append(out[d.Session], number(d.Data))
		s.Done(d)
	}
}

func files(t testing.TB, dir, prefix string) []string {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, n := range names {
		if strings.HasPrefix(n.Name(), prefix) {
			out = append(out, filepath.Join(dir, n.Name()))
		}
	}
	return out
}

// until waits for what the spool's goroutine brings about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s", what)
		}
		time.Sleep(time.Millisecond) // polls; no timing is proven by it
	}
}

// copyDir is what a crash at this moment would leave.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, f := range files(t, from, "") {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}
