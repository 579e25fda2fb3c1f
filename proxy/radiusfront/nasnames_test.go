package radiusfront

import (
	"net/netip"
	"testing"
	"time"

	"layeh.com/radius"

	"sereno/proxy/radwire"
)

// TestR50NASesThatShareAName: the session tells which of them is meant, or what else the request says.
func TestR50NASesThatShareAName(t *testing.T) {
	c := newCoAFront(t, false, ack)
	shared := avp(radwire.AttrNASIdentifier, "MikroTik")
	c.start("127.0.0.2", "s1", "alice", shared, nasIP(2))
	c.start("127.0.0.3", "s2", "bob", shared, nasIP(3)) // nobody listens for CoA there
	for i, attrs := range [][]*radius.AVP{
		{shared, nasIP(2), avp(44, "s1")},
		{shared, nasIP(2)},
		{shared, avp(44, "s1")},
		{shared, avp(1, "alice")},
	} {
		req := coaRequest(radwire.DisconnectRequest, byte(i), attrs...)
		c.from.send(req)
		if got := c.nas.wait(i + 1); len(got) != i+1 {
			t.Fatalf("%d requests", len(got))
		}
		c.from.verified(req, c.from.receive(), backendSecret)
	}
}

// TestR50ANASThatMovesAndComesBack: whichever workers have heard of it.
func TestR50ANASThatMovesAndComesBack(t *testing.T) {
	c := newCoAFront(t, false, ack, func(o *Options) { o.Workers = 2 })
	home, away, stranger := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.4")
	req := acctRequest(1, "s", avp(radwire.AttrNASIdentifier, "pop"))
	tell := func(worker int, from netip.Addr, verified bool) {
		w := c.s.workers[worker]
		w.begin()
		defer w.end()
		p, err := radwire.Walk(req, &w.ix)
		if err != nil {
			t.Fatal(err)
		}
		w.learnName(from, verified, p)
	}
	last := func(want netip.Addr) {
		t.Helper()
		n, _ := makeNASName(radwire.AttrNASIdentifier, []byte("pop"))
		if got := c.s.sessions.named(nil, n); len(got) == 0 || got[0] != want {
			t.Errorf("the name leads to %v, not first to %v", got, want)
		}
	}
	tell(0, home, true)
	tell(1, away, true)
	last(away)
	c.clock.advance(time.Duration(nameAgain))
	tell(0, home, true)
	last(home)
	tell(1, stranger, false) // a request that anybody can send takes a name from nobody
	last(home)
}
