package radiusfront

import (
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
