package radiusfront

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"layeh.com/radius"

	"sereno/proxy/insight"
	"sereno/proxy/pool"
	"sereno/proxy/radwire"
)

// steps collects what a trace has said so far, as "step: text [details]".
func steps(tr *insight.Trace) []string {
	var out []string
	for {
		select {
		case s := <-tr.Steps():
			out = append(out, strings.TrimSuffix(s.Name+": "+s.Text+" ["+strings.Join(s.Details, ", ")+"]", " []"))
		default:
			return out
		}
	}
}

// tells checks that the steps have these words, in this order.
func tells(t *testing.T, tr *insight.Trace, want ...string) {
	t.Helper()
	got := steps(tr)
	if len(got) != len(want) {
		t.Errorf("%d steps, not %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
		return
	}
	for i := range want {
		for _, words := range strings.Split(want[i], "…") {
			if !strings.Contains(got[i], words) {
				t.Errorf("step %d is %q, without %q", i, got[i], words)
			}
		}
		for _, secret := range []string{"xyzzy", "78797a7a79", "mppe-key"} {
			if strings.Contains(got[i], secret) {
				t.Errorf("step %d shows a secret: %q", i, got[i])
			}
		}
	}
}

func (f *front) trace(filter TraceFilter) *insight.Trace {
	tr := insight.NewTrace()
	f.t.Cleanup(f.s.Trace(filter, tr))
	return tr
}

func TestO24ATraceTellsEveryStepOfALogin(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		b := newServer(t, func(r received) []byte {
			return r.respond(radius.CodeAccessAccept, backendSecret, avp(18, "welcome"), avp(26, "\x00\x00\x01\x37\x10\x0amppe-key"))
		})
		f := newFront(t, setup{backends: []*server{b}, plain: plain})
		byUser, byNAS := f.trace(TraceFilter{User: "ALICE@example.net"}), f.trace(TraceFilter{NAS: netip.MustParsePrefix("127.0.0.0/8")})
		nobody := f.trace(TraceFilter{User: "bob", NAS: netip.MustParsePrefix("10.0.0.0/8")})
		n := newNAS(t, f.authAddr())
		req := pap(t, 7, "alice@example.net", "xyzzy", avp(radwire.AttrCallingStationID, "00-11"))
		n.exchange(req)
		want := []string{
			`received: Access-Request, identifier 7, from 127.0.0.1:…User-Name = "alice@example.net"…User-Password = (not shown)…Calling-Station-Id = "00-11"`,
			`route: realm "example.net", pool main, up to`, "backend: sent to b0 (127.0.0.1:…attempt 1",
			`reply: Access-Accept from b0 after…Reply-Message = "welcome"`, "answer: Access-Accept, source backend",
		}
		tells(t, byUser, want...)
		tells(t, byNAS, want...)
		n.exchange(req)
		tells(t, byUser, "received: ", "answer: Access-Accept, source duplicate")
		steps(byNAS)
		n.send(signed(radwire.AccessRequest, 8, "a wrong secret", avp(1, "carol")))
		f.untilDropped(KindAuth, ReasonMessageAuthenticator, 1)
		tells(t, byNAS, "received: ", "drop: message-authenticator")
		n.send([]byte("no RADIUS"))
		f.untilDropped(KindAuth, ReasonMalformed, 1)
		tells(t, byNAS, "received: auth port…9 octets", "drop: malformed")
		tells(t, nobody)
	})
}

func TestO24ATraceTellsSilenceAndTheNextBackend(t *testing.T) {
	f := newFront(t, setup{backends: []*server{newServer(t, silent), newServer(t, accept)}, pool: func(c *pool.Config) { c.Balance = "ordered" }})
	tr := f.trace(TraceFilter{User: "alice"})
	n := newNAS(t, f.authAddr())
	n.send(pap(t, 1, "alice", "xyzzy"))
	f.until("the request", func(st *Stats) bool { return st.InFlight[KindAuth] == 1 })
	f.clock.advance(1600 * time.Millisecond)
	n.receive()
	tells(t, tr, "received: ", "route: ", "backend: sent to b0", "silent: b0", "backend: sent to b1…attempt 2", "reply: Access-Accept from b1", "answer: ")
}

func TestO24TopNamesWhoAsksMost(t *testing.T) {
	f := newFront(t, setup{backends: []*server{newServer(t, accept)}, workers: 2})
	top := insight.NewTop(NumTops)
	stop := f.s.Count(top)
	n := newNAS(t, f.authAddr())
	for i := range byte(30) {
		user := "often@Example.net"
		if i%3 == 0 {
			user = "seldom"
		}
		n.exchange(pap(t, i, user, "xyzzy"))
	}
	stop()
	requests, lists := top.Read(10)
	if requests != 30 || len(lists[TopUsers]) != 2 || lists[TopUsers][0].Key != "often@Example.net" || lists[TopUsers][0].Count != 20 ||
		len(lists[TopRealms]) != 1 || lists[TopRealms][0].Key != "example.net" || len(lists[TopNASes]) != 1 || lists[TopNASes][0].Key != "\x7f\x00\x00\x01" {
		t.Errorf("%d requests, %+v", requests, lists)
	}
}
