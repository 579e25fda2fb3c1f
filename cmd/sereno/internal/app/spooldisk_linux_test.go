package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"layeh.com/radius"

	"sereno/bench/stub"
	"sereno/cmd/sereno/internal/admin"
)

// smallDisk puts the spool of pppoe on a file system of its own.
func (s *site) smallDisk(options string) string {
	s.t.Helper()
	return s.disk(filepath.Join(s.dir, "state", "spool", "pppoe"), options)
}

// disk is a file system of its own, mounted at dir.
func (s *site) disk(dir, options string) string {
	s.t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		if os.Getenv("SERENO_E2E") != "" {
			s.t.Fatalf("mounting a tmpfs: %v", err)
		}
		s.t.Skipf("mounting a tmpfs needs root: %v", err)
	}
	s.t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // or it goes with the machine
	return dir
}

// acknowledged sends one record and says whether it was acknowledged at once.
func (s *site) acknowledged(session string) bool {
	s.t.Helper()
	p := radius.New(radius.CodeAccountingRequest, []byte(nasSecret))
	p.Add(1, radius.Attribute(strings.Repeat("x", 253)))
	p.Add(40, radius.Attribute{0, 0, 0, 2})
	p.Add(44, radius.Attribute(session))
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	answer, err := radius.Exchange(ctx, p, s.acct)
	return err == nil && answer.Code == radius.CodeAccountingResponse
}

// TestR40AFullDiskIsAnAlarm: what it does not take is not acknowledged, that is said once and in words, and it is over
// when there is room. Every record that was acknowledged is delivered.
func TestR40AFullDiskIsAnAlarm(t *testing.T) {
	s := newSite(t)
	dir := s.smallDisk("size=256k")
	n := s.start()
	s.serversAre(admin.StateDown, stub.Mode{Fault: stub.Closed})
	stored := uint64(0)
	for ; s.acknowledged(fmt.Sprint("s", stored)); stored++ {
		if stored > 2000 {
			t.Fatal("256 KiB take them all")
		}
	}
	until(t, 5*time.Second, "the alarm", func() bool { return strings.Contains(s.standing(), "spool-disk/pppoe") })
	for _, a := range n.Status().Alarms {
		if a.Name == "spool-disk" && !strings.Contains(a.Text, "no space left on device") {
			t.Error(a.Text)
		}
	}
	if sp := s.service("pppoe").Spool; sp.Accepts || sp.Error == "" || sp.DiskFailed == 0 || uint64(sp.Records) < stored {
		t.Errorf("%d were acknowledged: %+v", stored, sp)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	until(t, 10*time.Second, "its end", func() bool { return s.standing() == "" })
	if !s.acknowledged("after") {
		t.Error("there is room, and nothing is acknowledged")
	}
	if s.logged("alarm", "alarm", "spool-disk") != 1 || s.logged("alarm over", "alarm", "spool-disk") != 1 {
		t.Error("the log does not have it once")
	}
	s.serversAre(admin.StateUp, stub.Mode{})
	until(t, 20*time.Second, "the delivery", func() bool { sp := s.service("pppoe").Spool; return sp.Records == 0 && sp.Delivered > stored })
}

// TestR40AfterSpoolOnAFullDisk: the servers get the records. Those with which the disk is tried again are not acknowledged
// and counted, and their NAS's next copy goes to a server.
func TestR40AfterSpoolOnAFullDisk(t *testing.T) {
	s := newSite(t)
	dir := s.smallDisk("size=256k")
	s.text["radius"] += "    accounting: {ack: after-spool}\n"
	n := s.start()
	if err := os.WriteFile(filepath.Join(dir, "other"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if s.acknowledged("first") {
		t.Error("the disk took it")
	}
	until(t, 5*time.Second, "the alarm", func() bool { return s.standing() == "spool-disk/pppoe" })
	for i := range 30 {
		time.Sleep(50 * time.Millisecond) // over more than a try of the disk
		session := fmt.Sprint("s", i)
		if s.acknowledged(session) {
			continue
		}
		if !s.acknowledged(session) {
			t.Errorf("%s is not acknowledged, nor is its copy", session)
		}
	}
	if s.standing() != "spool-disk/pppoe" {
		t.Errorf("the alarms are %q", s.standing())
	}
	drops := n.snapshot().RADIUS[0].Drops[admin.RADIUSDrop{Kind: "acct", Reason: "spool-failed"}]
	if failed := s.service("pppoe").Spool.DiskFailed; drops == 0 || drops != failed {
		t.Errorf("%d drops, and the disk did not take %d", drops, failed)
	}
}

// TestR40AReadOnlyDirectoryIsAnAlarm: the service serves without a spool and says why; nothing is acknowledged that
// nobody has; a reload opens it once it can be written.
func TestR40AReadOnlyDirectoryIsAnAlarm(t *testing.T) {
	s := newSite(t)
	dir := s.smallDisk("size=1m")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	n := s.start()
	until(t, 5*time.Second, "the alarm", func() bool { return s.standing() == "spool-unopened/pppoe" })
	if text := n.Status().Alarms[0].Text; !strings.Contains(text, "read-only file system") || !strings.Contains(text, dir) {
		t.Error(text)
	}
	if !s.acknowledged("live") {
		t.Error("with servers it serves all the same")
	}
	s.serversAre(admin.StateDown, stub.Mode{Fault: stub.Closed})
	if s.acknowledged("nobody has it") {
		t.Error("a record that nobody has is acknowledged")
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	s.mustReload()
	until(t, 5*time.Second, "its end", func() bool { return s.standing() == "" })
	if !s.acknowledged("stored") {
		t.Error("it is open, and nothing is acknowledged")
	}
}

// TestANodeStartsOnAReadOnlyDisk: a disk that the kernel has made read-only after an error keeps no node from starting: it
// answers, what it lacks is an alarm, and a second one is turned away all the same. A reload uses the disk that is mended.
func TestANodeStartsOnAReadOnlyDisk(t *testing.T) {
	s := newSite(t)
	dir := s.disk(filepath.Join(s.dir, "state"), "size=64m")
	s.start()
	s.stop()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s.start()
	if err := asks(s.dns, "www.example.com"); err != nil {
		t.Error(err)
	}
	s.login("alice")
	until(t, 5*time.Second, "the alarms", func() bool { return s.standing() == "spool-unopened/pppoe state-unwritable/" })
	if s.logged("the books of availability cannot be written; the node goes on", "", "") != 1 {
		t.Error("nobody is told of the books")
	}
	if s.logged("survival is off, and what was known cannot be removed from disk", "", "") != 0 {
		t.Error("something is said of a survival that nobody has turned on")
	}
	logs := s.logs
	if _, err := s.tryStart(); err == nil || !strings.Contains(err.Error(), "another sereno is running with node.state_dir") {
		t.Errorf("a second node: %v", err)
	}
	s.logs = logs
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	s.mustReload()
	until(t, 5*time.Second, "the end of the first", func() bool { return !strings.Contains(s.standing(), "spool-unopened") })
}
