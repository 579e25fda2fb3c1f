package radiusfront

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sereno/proxy/insight"
	"sereno/proxy/radwire"
	"sereno/proxy/udp"
)

// Who looks at single requests does it through a lens: live traces, and counts of
// who asks most (O24). A batch loads one pointer; while it is nil nothing of this
// file is run.

// TraceFilter says which requests a trace is about. What is not set fits every
// request.
type TraceFilter struct {
	User string       // User-Name, without regard to case
	NAS  netip.Prefix // the packet's source; of CoA: the backend's
}

// Trace gives what happens to the requests that fit f to t, until stop is called.
func (s *Service) Trace(f TraceFilter, t *insight.Trace) (stop func()) { return s.lenses.Follow(f, t) }

// What Count counts, in the order of the lists that a Top gives.
const (
	TopUsers  = iota // User-Names
	TopRealms        // in lower case; of users that have one
	TopNASes         // the packets' sources, 4 or 16 octets
	NumTops
)

// Count counts requests into t, until stop is called; then t may be read. Of a large
// batch every so-many-th is counted for the others too.
func (s *Service) Count(t *insight.Top) (stop func()) {
	end := s.lenses.Count(t)
	return func() {
		end()
		s.Stats() // takes every worker's mutex: a batch that has begun ends before
	}
}

// look is what a worker keeps of a traced packet while it is handled.
type look struct {
	drops   [NumKinds][NumReasons]uint64
	answers [NumKinds][NumAnswerCodes][NumSources]uint64
}

// regard looks at one packet of a batch before it is handled: at is its place, of the
// batch's length.
func (w *worker) regard(l *listener, pkt *udp.Packet, at, of int) {
	w.trace = nil
	var ix radwire.Index
	p, err := radwire.Walk(pkt.Data, &ix)
	if err == nil && radwire.PacketCode(p) == radwire.StatusServer && radwire.IsProbe(p, &ix, w.probe) {
		return // our own self-probe
	}
	var user []byte
	if err == nil {
		user = ix.FirstValue(p, radwire.AttrUserName)
	}
	nas := pkt.Peer.Addr()
	if step := insight.Stride(of); at%step == 0 {
		for _, top := range w.lens.Tops {
			count(top.Of(w), user, nas, min(step, of-at))
		}
	}
	if len(w.lens.Traces) == 0 {
		return
	}
	w.trace = w.service.lenses.Request(w.lens, w.view.name, func(f *TraceFilter) bool {
		return (!f.NAS.IsValid() || f.NAS.Contains(nas)) && (f.User == "" || strings.EqualFold(f.User, string(user)))
	})
	if w.trace == nil {
		return
	}
	w.look = look{w.book.drops, w.book.answers}
	if err != nil {
		w.trace.Say("received", "%s port, from %s, %d octets: %v", l.kind, pkt.Peer, len(pkt.Data), err)
		return
	}
	w.trace.Show("received", fmt.Sprintf("%s, identifier %d, from %s, %d octets", radwire.PacketCode(p), p[1], pkt.Peer, len(p)), attributes(p))
}

func count(y *insight.Tally, user []byte, nas netip.Addr, weight int) {
	y.Requests += uint64(weight)
	if len(user) > 0 {
		y.Count(TopUsers, user, weight)
		var room [maxRealm]byte
		if realm := realmOf(user); len(realm) > 0 && len(realm) <= maxRealm {
			lower := room[:copy(room[:], realm)]
			for i, c := range lower {
				if 'A' <= c && c <= 'Z' {
					lower[i] += 'a' - 'A'
				}
			}
			y.Count(TopRealms, lower, weight)
		}
	}
	if a := nas.As16(); nas.Is4() {
		y.Count(TopNASes, a[12:], weight)
	} else {
		y.Count(TopNASes, a[:], weight)
	}
}

// attributes are a packet's in words; what is secret is not shown.
func attributes(p []byte) []string {
	list := radwire.Text(p)
	out := make([]string, 0, len(list))
	for _, a := range list {
		if a.Secret {
			a.Value = "(not shown)"
		}
		out = append(out, a.Name+" = "+a.Value)
	}
	return out
}

// after tells what came at once of a traced packet. It finds out from the books, so
// that the gates themselves tell nobody anything.
func (w *worker) after() {
	for k := range NumKinds {
		for code := range NumAnswerCodes {
			for src := range NumSources {
				if w.book.answers[k][code][src] > w.look.answers[k][code][src] {
					w.trace.Say("answer", "%s, source %s", code, src)
				}
			}
		}
		for r := range NumReasons {
			if w.book.drops[k][r] == w.look.drops[k][r] {
				continue
			}
			switch r {
			case ReasonReplaced:
				w.trace.Say("replaced", "an older request under its identifier is given up")
			case ReasonDuplicate:
				w.trace.Say("drop", "%s: its first is still in flight", r)
			default:
				w.trace.Say("drop", "%s", r)
			}
		}
	}
	w.trace = nil
}

// sent tells of an attempt.
func (f *flight) sent(a *attempt) {
	f.trace.Say("backend", "sent to %s (%s), identifier %d, attempt %d", a.up.name, a.up.addr, a.id, f.n)
}

// told tells of a reply that is used, and of the answer that is made of it.
func (w *worker) told(r *insight.Request, f *flight, a *attempt, p []byte) {
	r.Show("reply", fmt.Sprintf("%s from %s after %v", radwire.PacketCode(p), a.up.name, time.Duration(w.now-a.sent)), attributes(p))
	r.Say("answer", "%s, source %s, after %v", radwire.PacketCode(p), SourceBackend, time.Duration(w.now-f.received))
}
