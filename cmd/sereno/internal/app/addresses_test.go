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
