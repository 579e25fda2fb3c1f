package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
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
	if err := book.save(); err != nil {
		t.Fatal(err)
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
	if !late.remove("node") {
		t.Fatal("there was none")
	}
	if late.remove("node") {
		t.Fatal("removed twice")
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

// onDisk are the targets that a restart would find.
func onDisk(t *testing.T, path string) string {
	t.Helper()
	book, err := loadDrains(path, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range book.list() {
		out = append(out, d.Target)
	}
	return fmt.Sprint(out)
}

// TestO12DrainThatCannotBeWrittenIsInForce: it is kept and said, and it is written down once the disk takes it; so is
// the end of one.
func TestO12DrainThatCannotBeWrittenIsInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "gone")
		path := filepath.Join(dir, "drains.json")
		book, err := loadDrains(path, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := book.add("node", time.Now(), nil); err != nil {
			t.Fatal(err)
		}
		if err := book.save(); err == nil || !book.has("node") || len(book.alarms()) != 1 {
			t.Fatalf("without a disk: %v, %+v, %+v", err, book.list(), book.alarms())
		}
		if text := book.alarms()[0].text; !strings.Contains(text, "restart") || !strings.Contains(text, path) || !strings.Contains(text, "no such file") {
			t.Error(text)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		retried := func() { book.retry(time.Now()); synctest.Wait() }
		retried()
		if got := onDisk(t, path); got != "[node]" || len(book.alarms()) != 0 {
			t.Errorf("with a disk again: %s, %+v", got, book.alarms())
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if !book.remove("node") || book.save() == nil || book.has("node") || len(book.alarms()) != 1 {
			t.Errorf("its end, without a disk: %+v, %+v", book.list(), book.alarms())
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		retried()
		if len(book.alarms()) != 1 {
			t.Error("it is tried again and again")
		}
		time.Sleep(saveAgain)
		retried()
		if got := onDisk(t, path); got != "[]" || len(book.alarms()) != 0 {
			t.Errorf("at last: %s, %+v", got, book.alarms())
		}
	})
}

// TestO12DrainDoesNotWaitForADiskThatHangs: nobody waits longer than saveWithin, and nobody else at all.
func TestO12DrainDoesNotWaitForADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := newDrainBook(filepath.Join(t.TempDir(), "drains.json"))
		book.disk <- struct{}{} // who writes does not come back
		for _, target := range []string{"node", "service/resolver"} {
			began := time.Now()
			if err := book.add(target, began, nil); err != nil {
				t.Fatal(err)
			}
			if err := book.save(); err == nil || time.Since(began) != saveWithin || !book.has(target) {
				t.Errorf("%s: %v after %v", target, err, time.Since(began))
			}
			before := time.Now()
			book.retry(before.Add(time.Hour))
			if !time.Now().Equal(before) || len(book.alarms()) != 1 || len(book.list()) == 0 {
				t.Errorf("%s: others wait too, or nobody is told: %+v", target, book.alarms())
			}
		}
		<-book.disk
		book.retry(time.Now().Add(2 * time.Hour))
		synctest.Wait()
		if got := onDisk(t, book.path); got != "[node service/resolver]" || len(book.alarms()) != 0 {
			t.Errorf("after it: %s, %+v", got, book.alarms())
		}
	})
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
	book := newDrainBook(filepath.Join(t.TempDir(), "drains.json"))
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
