package app

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sereno/cmd/sereno/internal/admin"
)

// FuzzDrains: a book of drains is read whole or refused. One that is read has targets
// that an operator can undrain, not more than the bound, and is the same when it was
// written and read again.
func FuzzDrains(f *testing.F) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	path := filepath.Join(f.TempDir(), "drains.json")
	book := newDrainBook(path)
	until := now.Add(time.Hour)
	for target, end := range map[string]*time.Time{"node": nil, "pool/resolvers/fulmine": &until, "service/pppoe": nil} {
		if err := book.add(target, now, end); err != nil {
			f.Fatal(err)
		}
	}
	if err := book.save(); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`[{"target":"node","since":"2026-11-28T12:00:00Z","until":"9999-12-31T23:59:59-23:59"},{"target":"node"}]`))
	f.Add([]byte(`[{}]`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		book, err := loadDrains(path, now)
		if err != nil {
			return
		}
		was := book.list()
		if len(was) > maxDrains {
			t.Fatalf("%d drains", len(was))
		}
		for _, d := range was {
			if target, err := admin.ParseTarget(d.Target); err != nil || target.String() != d.Target {
				t.Fatalf("%q is drained, and nobody can undrain it: %v", d.Target, err)
			}
		}
		book.changes++ // or there is nothing to write
		if err := book.save(); err != nil {
			t.Fatal(err)
		}
		again, err := loadDrains(path, now)
		if err != nil {
			t.Fatal(err)
		}
		is := again.list()
		if len(is) != len(was) {
			t.Fatalf("%v was written, %v is read", was, is)
		}
		for i := range is {
			if is[i].Target != was[i].Target || !is[i].Since.Equal(was[i].Since) || (is[i].Until == nil) != (was[i].Until == nil) ||
				is[i].Until != nil && !is[i].Until.Equal(*was[i].Until) {
				t.Fatalf("%v was written, %v is read", was[i], is[i])
			}
		}
	})
}
