package dnsfront

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestD60PrefixSetAgreesWithNetip(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	addr := func() netip.Addr {
		if rng.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{byte(rng.IntN(4)), byte(rng.IntN(256)), byte(rng.IntN(2)), byte(rng.IntN(256))})
		}
		var b [16]byte
		b[0], b[1], b[7], b[8], b[15] = 0xfc, byte(rng.IntN(4)), byte(rng.IntN(3)), byte(rng.IntN(3)), byte(rng.IntN(256))
		return netip.AddrFrom16(b)
	}
	for range 300 {
		var prefixes []netip.Prefix
		for range rng.IntN(20) {
			a := addr()
			prefixes = append(prefixes, netip.PrefixFrom(a, rng.IntN(a.BitLen()+1)))
		}
		set := newPrefixSet(prefixes)
		for range 200 {
			a, want := addr(), false
			for _, p := range prefixes {
				want = want || p.Contains(a)
			}
			if got := set.contains(a); got != want {
				t.Fatalf("%v in %v: %v", a, prefixes, got)
			}
		}
	}
}

func TestD60DefaultAllowsOnlyPrivateSpace(t *testing.T) {
	set := newPrefixSet(DefaultAllow())
	for a, want := range map[string]bool{
		"127.0.0.1": true, "10.255.255.255": true, "172.31.0.1": true, "172.32.0.1": false, "192.168.1.1": true, "100.64.0.1": true,
		"100.128.0.0": false, "8.8.8.8": false, "::1": true, "::2": false, "fd00::1": true, "fe80::1": true, "2001:db8::1": false,
	} {
		if got := set.contains(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
}
