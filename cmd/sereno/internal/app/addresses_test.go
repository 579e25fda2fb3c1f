package app

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"sereno/bgp"
	"sereno/config"
)

// TestA23AddressesLeaveBetweenReloads: what an earlier reload takes away leaves while no
// other is under way, which may have put addresses there for services that come.
func TestA23AddressesLeaveBetweenReloads(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "addresses.json")
	const noted = `[{"interface":"nothing0","address":"192.0.2.53"}]`
	if err := os.WriteFile(file, []byte(noted), 0o600); err != nil {
		t.Fatal(err)
	}
	addresses, err := bgp.NewAddresses(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{log: zap.NewNop(), addresses: addresses, done: make(chan struct{})}
	n.shape.Store(&shape{config: &config.Config{}})
	has := func() string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	n.change.Lock()
	n.assignLess(&config.Config{Anycast: []bgp.AnycastConfig{{Assign: "nothing0", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.53/32")}}}})
	time.Sleep(50 * time.Millisecond)
	if has() != noted {
		t.Error("an address left during a reload")
	}
	n.change.Unlock()
	n.leaving.Wait()
	if has() != "[]" {
		t.Errorf("afterwards there is %s", has())
	}
}

// TestA23AddressesThatCannotBeReadKeepNoNodeFromStarting: what an earlier run put somewhere stays there, and that is said.
func TestA23AddressesThatCannotBeReadKeepNoNodeFromStarting(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(s.dir, "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "addresses.json"), []byte(`[{"interface":"lo","addr`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	if s.logged("which addresses an earlier run has put on interfaces cannot be read: they stay there", "", "") != 1 {
		t.Error("nobody is told")
	}
	s.stop()
}
