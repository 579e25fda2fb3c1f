package radiusfront

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sereno/proxy/radwire"
)

// elsewhere is the address that a socket got while the way to the servers was another; they have no way back to it.
var elsewhere = netip.MustParseAddr("127.0.0.77")

func oneWay(r received) []byte {
	if plain(r.from.Addr()) == elsewhere {
		return nil
	}
	return accept(r)
}

// TestR30LoginsLeaveFromWhereTheServersKnowUs : the ports were opened while a link was down.
func TestR30LoginsLeaveFromWhereTheServersKnowUs(t *testing.T) {
	backend := newServer(t, oneWay)
	f := newFront(t, setup{backends: []*server{backend}, workers: 1})
	w := f.s.workers[0]
	from := func(a netip.Addr) (ports int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		up := w.upstream(f.auth.Backends()[0], w.view.fallback, KindAuth)
		up.source = a
		return len(up.all())
	}
	from(elsewhere)
	nas := newNAS(t, f.authAddr())
	nas.send(pap(t, 1, "alice", "x"))
	backend.wait(1)
	from(netip.Addr{}) // the link is back
	f.clock.advance(6 * time.Second)
	f.untilDropped(KindAuth, ReasonTimeout, 1)
	f.setUp("b0", "auth")
	for end := time.Now().Add(testTimeout); from(netip.Addr{}) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the strayed ports are still open")
		}
		f.clock.advance(100 * time.Millisecond)
	}
	if got := nas.exchange(pap(t, 2, "alice", "x")); radwire.Code(got.Code) != radwire.AccessAccept {
		t.Errorf("%v", got.Code)
	}
}

// TestR50CoALeavesFromWhereTheNASKnowsUs: as it is with logins, also while CoA goes on.
func TestR50CoALeavesFromWhereTheNASKnowsUs(t *testing.T) {
	c := newCoAFront(t, false, func(r received) []byte {
		if plain(r.from.Addr()) == elsewhere {
			return nil
		}
		return ack(r)
	})
	w := c.s.workers[0]
	w.mu.Lock()
	w.view.coaSource = elsewhere
	w.mu.Unlock()
	c.from.send(coaRequest(radwire.CoARequest, 1, nasIP(2)))
	c.nas.wait(1)
	w.mu.Lock() // the link is back
	w.view.coaSource, w.nases[c.nas.addr()].source = netip.Addr{}, netip.Addr{}
	w.mu.Unlock()
	c.clock.advance(2100 * time.Millisecond)
	c.nas.wait(2)
	c.clock.advance(1100 * time.Millisecond)
	c.until("another port", func(*Stats) bool {
		c.clock.advance(100 * time.Millisecond)
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.nases[c.nas.addr()].left) > 0
	})
	req := coaRequest(radwire.CoARequest, 2, nasIP(2))
	c.from.send(req)
	c.from.verified(req, c.from.receive(), backendSecret)
}

// TestR22PortsToANASAreClosedAfterAPeak: also while there is CoA now and then.
func TestR22PortsToANASAreClosedAfterAPeak(t *testing.T) {
	c := newCoAFront(t, false, silent)
	for i := range 600 {
		c.from.send(coaRequest(radwire.CoARequest, byte(i), nasIP(2), avp(44, fmt.Sprint(i))))
		c.nas.wait(i + 1)
	}
	ports := func() int {
		w := c.s.workers[0]
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.nases[c.nas.addr()].all())
	}
	if ports() < 3 {
		t.Fatalf("%d ports for 600 requests", ports())
	}
	c.clock.advance(16 * time.Second)
	c.untilDropped(KindCoA, ReasonTimeout, 600)
	c.nas.setAnswer(ack)
	for i := 0; ports() > firstPorts; i++ {
		if i > 120 { // seconds
			t.Fatalf("%d ports are open", ports())
		}
		c.clock.advance(time.Second)
		req := coaRequest(radwire.CoARequest, byte(i), nasIP(2), avp(44, fmt.Sprint("later ", i)))
		c.from.send(req)
		c.from.verified(req, c.from.receive(), backendSecret)
	}
}
