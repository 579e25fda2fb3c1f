package load

import (
	"net/netip"
	"testing"
)

// Load goes to this host, and to a laboratory's addresses if they are named and nobody else can have them.
func TestTargetsAreOursOrALaboratorys(t *testing.T) {
	laboratory := []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("9.9.9.9")}
	for target, want := range map[string]bool{
		"127.0.0.1:53":      true,
		"[::1]:53":          true,
		"192.0.2.53:53":     true,
		"[2001:db8::53]:53": true,
		"192.0.2.54:53":     false, // not named
		"9.9.9.9:53":        false, // named, but somebody has it
		"8.8.8.8:53":        false,
		"127.0.0.1:0":       false,
	} {
		if err := checkLocal(netip.MustParseAddrPort(target), laboratory); (err == nil) != want {
			t.Errorf("%s: %v, want it taken: %v", target, err, want)
		}
	}
	if checkLocal(netip.MustParseAddrPort("192.0.2.53:53"), nil) == nil {
		t.Error("an address for documentation is taken without a laboratory")
	}
}
