package spool

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tmpfs mounts a small file system of its own.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		if os.Getenv("SERENO_E2E") != "" {
			t.Fatalf("mounting a tmpfs: %v", err)
		}
		t.Skipf("mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // or it goes with the machine
	return dir
}

func TestR40AFileSystemThatIsFull(t *testing.T) {
	dir := tmpfs(t, "size=512k")
	s := open(t, dir)
	stored := 0
	for {
		err := s.Append(record(uint64(stored), stored))
		if err == nil {
			stored++
			continue
		}
		if !errors.Is(err, unix.ENOSPC) || s.Accepts() {
			t.Fatalf("after %d records: %v", stored, err)
		}
		break
	}
	if stored < 1000 {
		t.Fatalf("only %d records in 512 KiB", stored)
	}
	for range stored / 2 {
		d, ok := s.Next(1)
		if !ok {
			t.Fatal("what is stored is not delivered")
		}
		s.Done(d)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	got := drain(t, s)
	if len(got) < stored-stored/2 || len(got) > stored { // ends that a full disk did not take are delivered again
		t.Fatalf("%d of %d", len(got), stored)
	}
	for n := stored / 2; n < stored; n++ {
		if got[uint64(n)] == nil {
			t.Fatalf("record %d is lost", n)
		}
	}
	until(t, "room", func() bool { return s.Append(record(1, 1)) == nil })
}

func TestAReadOnlyDirectoryIsTold(t *testing.T) {
	dir := tmpfs(t, "size=1m")
	s := open(t, dir)
	mustAppend(t, s, record(1, 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Dir: dir, Node: "garibaldi-1"})
	if !errors.Is(err, unix.EROFS) || !strings.HasPrefix(err.Error(), "opening the spool "+dir) {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, open(t, dir)); len(got) != 1 {
		t.Fatal(got)
	}
}
