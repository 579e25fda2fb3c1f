package app

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestO12DrainsSurviveARestartUntilTheyEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drains.json")
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	book, err := loadDrains(path, now)
	if err != nil {
		t.Fatal(err)
	}
	end := now.Add(30 * time.Minute)
	for target, until := range map[string]*time.Time{"node": nil, "pool/resolvers/fulmine": &end} {
		if err := book.add(target, now, until); err != nil {
			t.Fatal(err)
		}
	}

	again, err := loadDrains(path, now.Add(29*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if got := again.list(); len(got) != 2 || got[0].Target != "node" || got[0].Until != nil || !got[1].Until.Equal(end) || !got[1].Since.Equal(now) {
		t.Fatalf("after a restart: %+v", got)
	}
	if over := again.expire(now.Add(29 * time.Minute)); len(over) != 0 {
		t.Fatalf("ended early: %v", over)
	}
	if over := again.expire(end); fmt.Sprint(over) != "[pool/resolvers/fulmine]" {
		t.Fatalf("expired: %v", over)
	}
	if again.has("pool/resolvers/fulmine") || !again.has("node") {
		t.Fatalf("after the end: %+v", again.list())
	}

	late, err := loadDrains(path, end.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if got := late.list(); len(got) != 1 || got[0].Target != "node" {
		t.Fatalf("after a restart past its end: %+v", got)
	}
	if had, err := late.remove("node"); !had || err != nil {
		t.Fatalf("remove: %v, %v", had, err)
	}
	if had, err := late.remove("node"); had || err != nil {
		t.Fatalf("removed twice: %v, %v", had, err)
	}
}

func TestDrainAgainKeepsItsStartAndTakesTheNewEnd(t *testing.T) {
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	book, err := loadDrains(filepath.Join(t.TempDir(), "drains.json"), now)
	if err != nil {
		t.Fatal(err)
	}
	end := now.Add(time.Hour)
	if err := book.add("node", now, nil); err != nil {
		t.Fatal(err)
	}
	if err := book.add("node", now.Add(time.Minute), &end); err != nil {
		t.Fatal(err)
	}
	if got := book.list(); len(got) != 1 || !got[0].Since.Equal(now) || !got[0].Until.Equal(end) {
		t.Fatalf("got %+v", got)
	}
}

func TestDrainThatCannotBeWrittenDoesNotTakeEffect(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	book, err := loadDrains(filepath.Join(dir, "drains.json"), now)
	if err != nil {
		t.Fatal(err)
	}
	if err := book.add("node", now, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := book.add("service/resolver", now, nil); err == nil || book.has("service/resolver") {
		t.Fatalf("added without a disk: %v, %+v", err, book.list())
	}
	if _, err := book.remove("node"); err == nil || !book.has("node") {
		t.Fatalf("removed without a disk: %v, %+v", err, book.list())
	}
}

func TestDrainsFileThatIsNotOneIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drains.json")
	if err := os.WriteFile(path, []byte("{torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadDrains(path, time.Now()); err == nil {
		t.Fatal("a torn file was taken for a book")
	}
}

func TestO30DrainsAreBounded(t *testing.T) {
	now := time.Now()
	book := &drainBook{path: filepath.Join(t.TempDir(), "drains.json"), all: map[string]drain{}}
	for i := range maxDrains {
		book.all[fmt.Sprint("pool/p/", i)] = drain{}
	}
	if err := book.add("node", now, nil); err == nil {
		t.Fatal("one more than the bound was taken")
	}
}

func TestD53StateDirIsLockedAgainstASecondInstance(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	first, err := openStateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openStateDir(path); err == nil {
		t.Fatal("opened twice")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := openStateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}
