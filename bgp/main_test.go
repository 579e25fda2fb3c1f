package bgp

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// at is a moment in the tests' own time.
func at(d time.Duration) time.Time { return epoch.Add(d) }

func anycast(change func(*AnycastConfig)) AnycastConfig {
	var a AnycastConfig
	a.SetDefaults()
	a.Name, a.Requires = "dns-vip", []string{"resolver"}
	a.Prefixes = []netip.Prefix{netip.MustParsePrefix("192.0.2.53/32"), netip.MustParsePrefix("2001:db8::53/128")}
	if change != nil {
		change(&a)
	}
	return a
}

func neighbor(name, address string) NeighborConfig {
	var n NeighborConfig
	n.SetDefaults()
	n.Name, n.Address, n.ASN = name, address, 64500
	return n
}

func testSettings(a AnycastConfig, neighbors ...NeighborConfig) Settings {
	var s Settings
	s.BGP.SetDefaults()
	s.BGP.ASN, s.BGP.RouterID, s.BGP.Neighbors = 64512, "10.0.0.2", neighbors
	s.Anycast = []AnycastConfig{a}
	return s
}

func service(state, reason string) []Service {
	return []Service{{Name: "resolver", State: state, Reason: reason}}
}
