package radiusfront

import (
	"fmt"
	"net/netip"
	"testing"

	"layeh.com/radius"

	"sereno/proxy/radwire"
)

func TestR05R20OverIPv6(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		backend := newServerOn(t, "[::1]:0", backendSecret, accept)
		f := newFront(t, setup{backends: []*server{backend}, plain: plain, config: func(c *Config) {
			c.Auth, c.Acct = []string{"[::1]:0"}, []string{"127.0.0.1:0"}
			c.Clients = append(c.Clients, testClient("six", "::1"))
		}})
		nas := newNASFrom(t, "::1", f.authAddr())
		req := pap(t, 1, "alice", "x")
		if got := nas.exchange(req); got.Code != radius.CodeAccessAccept {
			t.Errorf("got %v", got.Code)
		}
		nas.exchange(req) // the duplicate
		newNAS(t, f.acctAddr()).exchange(acctRequest(1, "s"))
		if st := f.balanced(); st.Answers[KindAuth][AnswerAccept][SourceDuplicate] != 1 {
			t.Errorf("books: %+v", st.Answers[KindAuth])
		}
	})
}

// TestD52AnswersLeaveFromTheAddressThatWasAsked: the NAS's sockets are
// connected, so an answer from another address would not arrive.
func TestD52AnswersLeaveFromTheAddressThatWasAsked(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}, config: func(c *Config) { c.Auth = []string{"0.0.0.0:0"} }})
	for i := range 4 {
		to := netip.MustParseAddr(fmt.Sprintf("127.0.0.%d", 10+i))
		nas := newNAS(t, netip.AddrPortFrom(to, f.authAddr().Port()))
		req := pap(t, 1, "alice", "x")
		nas.exchange(req)
		nas.exchange(req)
		nas.exchange(statusRequest(2, nasSecret))
	}
	if backend.count() != 4 { // the address that was asked is part of a request's identity
		t.Errorf("the backend got %d requests", backend.count())
	}
}

func TestR05EveryWorkerServesEveryNAS(t *testing.T) {
	f := newFront(t, setup{backends: []*server{newServer(t, accept)}, workers: 3})
	for range 12 {
		newNAS(t, f.authAddr()).exchange(pap(t, 1, "alice", "x"))
	}
	served := 0
	for _, w := range f.s.workers {
		w.mu.Lock()
		if w.book.requests[KindAuth] > 0 {
			served++
		}
		w.mu.Unlock()
	}
	if served < 2 {
		t.Errorf("%d of 3 workers served 12 source ports", served)
	}
}

// FuzzWorker gives a worker arbitrary datagrams as requests of each kind and
// as replies, some of them signed, and moves the clock: it must neither panic
// nor lose count.
func FuzzWorker(f *testing.F) {
	f.Add(byte(0), uint16(0), []byte(pap(f, 1, "alice", "x")))
	f.Add(byte(1), uint16(700), acctRequest(2, "s"))
	f.Add(byte(2), uint16(0), coaRequest(radwire.DisconnectRequest, 3, avp(44, "s"), nasIP(1)))
	f.Add(byte(3|4), uint16(2000), signed(radwire.AccessAccept, 0, backendSecret))
	f.Add(byte(0|4), uint16(9000), signed(radwire.AccessRequest, 1, nasSecret, avp(1, "x@y.net"), avp(24, "state"), avp(79, "eap"), avp(33, "p")))
	f.Fuzz(func(t *testing.T, how byte, ms uint16, data []byte) {
		h := fuzzHand(t)
		h.feed(how, data)
		h.pass(ms)
		h.feed(how, data) // again: a duplicate, or a late reply
		h.pass(ms)
		var st Stats
		h.w.book.addTo(&st)
		for k := range NumKinds {
			if st.Missing(k) != 0 {
				t.Fatalf("%v: %d missing", k, st.Missing(k))
			}
		}
	})
}
