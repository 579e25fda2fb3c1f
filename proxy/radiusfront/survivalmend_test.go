package radiusfront

import (
	"os"
	"strings"
	"testing"

	"layeh.com/radius"

	"sereno/proxy/radwire"
)

// TestR60ARejectByAnotherMethodForgetsToo: the account is what was rejected.
func TestR60ARejectByAnotherMethodForgetsToo(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}, config: func(c *Config) { c.Survival.Mode = "known-password" }})
	n := newNAS(t, f.authAddr())
	for i, attrs := range [][]*radius.AVP{
		{avp(radwire.AttrCHAPPassword, "\x01"+strings.Repeat("c", 16))},
		{avp(radwire.AttrEAPMessage, "\x02\x01\x00\x0a\x01alice")},
	} {
		backend.setAnswer(accept)
		n.exchange(pap(t, byte(2*i), "alice", "right"))
		if known := f.balanced().Survival.Known; known != 1 {
			t.Fatalf("%d known", known)
		}
		backend.setAnswer(func(r received) []byte { return r.respond(radius.CodeAccessReject, backendSecret) })
		n.exchange(signed(radwire.AccessRequest, byte(2*i+1), nasSecret, append(attrs, avp(1, "alice"))...))
		if known := f.balanced().Survival.Known; known != 0 {
			t.Errorf("%d known after a Reject", known)
		}
	}
}

// TestR60WhatAnEarlierProcessKnewIsRemovedWhileItIsOff: who was rejected meanwhile must
// not be known when it is on again.
func TestR60WhatAnEarlierProcessKnewIsRemovedWhileItIsOff(t *testing.T) {
	dir := t.TempDir()
	backend := newServer(t, accept)
	on := func(c *Config) { c.Survival.Mode = "known-password" }
	f := newFront(t, withSpool(dir, setup{backends: []*server{backend}, config: on}))
	newNAS(t, f.authAddr()).exchange(pap(t, 1, "alice", "right"))
	f.stop()
	if _, err := os.Stat(survivalPath(dir, "pppoe")); err != nil {
		t.Fatal(err)
	}
	newFront(t, withSpool(dir, setup{backends: []*server{backend}})).stop()
	for _, path := range []string{survivalPath(dir, "pppoe"), survivalKeyPath(dir, "pppoe")} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestR60ASessionTimeoutOfZeroIsNoBound(t *testing.T) {
	s := newSurvival(&SurvivalConfig{Mode: "known-password"})
	got := s.fit(radwire.AppendAttribute(nil, radwire.AttrSessionTimeout, make([]byte, 4)), 1800)
	if v, ok := secondsOf(got[2:]); !ok || v != 1800 || len(got) != 6 {
		t.Errorf("%x", got)
	}
}
