package bgp

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestA23AddressesComeAndGo runs itself again in a network namespace of its
// own, where it may do what it likes.
func TestA23AddressesComeAndGo(t *testing.T) {
	if os.Getenv("SERENO_TEST_NETNS") == "1" {
		testAddresses(t)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestA23AddressesComeAndGo$", "-test.v")
	cmd.Env = append(os.Environ(), "SERENO_TEST_NETNS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(err.Error(), "fork/exec") && os.Getenv("SERENO_E2E") == "" {
		t.Logf("left out without SERENO_E2E=1, as this machine allows no network namespace: %v", err)
		return
	}
	if err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func testAddresses(t *testing.T) {
	has := func() (all []string) {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		list, err := netlink.AddrList(lo, netlink.FAMILY_ALL)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list {
			s := a.IPNet.String()
			if a.PreferedLft == 0 && a.ValidLft != 0 && a.IP.To4() == nil {
				s += " deprecated"
			}
			all = append(all, s)
		}
		return all
	}
	expect := func(want ...string) {
		t.Helper()
		if got := strings.Join(has(), ", "); got != strings.Join(want, ", ") {
			t.Errorf("lo has %q, want %q", got, strings.Join(want, ", "))
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	expect("127.0.0.1/8", "::1/128")
	foreign, err := netlink.ParseAddr("192.0.2.99/32")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(lo, foreign); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	fresh := func() *Addresses {
		a, err := NewAddresses(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	entry := anycast(func(a *AnycastConfig) {
		a.Assign = "lo"
		a.Prefixes = append(a.Prefixes, netip.MustParsePrefix("192.0.2.99/32"), netip.MustParsePrefix("198.51.100.0/24"))
	})
	a := fresh()
	for range 2 {
		if err := a.Apply([]AnycastConfig{entry}); err != nil {
			t.Fatal(err)
		}
		expect("127.0.0.1/8", "192.0.2.99/32", "192.0.2.53/32", "2001:db8::53/128 deprecated", "::1/128")
	}
	a = fresh() // after a crash it knows what is its own
	less := entry
	less.Prefixes = entry.Prefixes[1:]
	if err := a.Apply([]AnycastConfig{less}); err != nil {
		t.Fatal(err)
	}
	expect("127.0.0.1/8", "192.0.2.99/32", "2001:db8::53/128 deprecated", "::1/128")
	if err := a.Release(); err != nil {
		t.Fatal(err)
	}
	expect("127.0.0.1/8", "192.0.2.99/32", "::1/128")
	testOtherBoot(t, dir, expect)
	testNoNotes(t, entry, expect)
	wrong := entry
	wrong.Assign = "nothing0"
	if err := a.Apply([]AnycastConfig{wrong}); err == nil || !strings.Contains(err.Error(), "nothing0") {
		t.Errorf("an interface that is not there: %v", err)
	}
	if err := a.Release(); err != nil {
		t.Error(err)
	}
}

// testNoNotes: a disk that takes no notes hinders nobody, and is told once.
func testNoNotes(t *testing.T, entry AnycastConfig, expect func(...string)) {
	core, log := observer.New(zap.ErrorLevel)
	// A file where the state directory should be takes nothing, from root either.
	dir := filepath.Join(t.TempDir(), "file")
	a, err := NewAddresses(dir, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(nil); err != nil || log.Len() > 0 {
		t.Errorf("with nothing to note: %v, %v", err, log.All())
	}
	for range 2 {
		if err := a.Apply([]AnycastConfig{entry}); err != nil {
			t.Errorf("without notes: %v", err)
		}
		expect("127.0.0.1/8", "192.0.2.99/32", "192.0.2.53/32", "2001:db8::53/128 deprecated", "::1/128")
	}
	if log.Len() != 1 {
		t.Errorf("it is told %d times: %v", log.Len(), log.All())
	}
	if err := a.Release(); err != nil {
		t.Error(err)
	}
	expect("127.0.0.1/8", "192.0.2.99/32", "::1/128")
}

// testOtherBoot: what an earlier boot noted is gone with it, and the address that is there
// now is somebody else's.
func testOtherBoot(t *testing.T, dir string, expect func(...string)) {
	note := `[{"interface":"lo","address":"192.0.2.99","place":"another boot net:[1]"}]`
	if err := os.WriteFile(filepath.Join(dir, addressesFile), []byte(note), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := NewAddresses(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Release(); err != nil {
		t.Error(err)
	}
	expect("127.0.0.1/8", "192.0.2.99/32", "::1/128")
}
