package dnsfront

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/miekg/dns"

	"sereno/proxy/dnswire"
	"sereno/proxy/insight"
	"sereno/proxy/udp"
)

// Who looks at single queries does it through a lens: live traces, and counts of who asks
// most (O24). A batch loads one pointer; while it is nil nothing of this file is run.

// TraceFilter says which queries a trace is about. What is not set fits every query.
type TraceFilter struct {
	Client netip.Prefix
	Name   string // this name and what is below it

	suffix []byte
}

// Trace gives what happens to the queries that fit f to t, until stop is called. It fails
// for what is no domain name.
func (s *Service) Trace(f TraceFilter, t *insight.Trace) (stop func(), err error) {
	if f.Name != "" {
		var ok bool
		if f.suffix, ok = dnswire.ParseName(nil, f.Name); !ok {
			return nil, fmt.Errorf("tracing %q: it is not a domain name", f.Name)
		}
	}
	return s.lenses.Follow(f, t), nil
}

// What Count counts, in the order of the lists that a Top gives.
const (
	TopNames   = iota // names asked, on the wire in lower case
	TopClients        // addresses of clients, 4 or 16 octets
	NumTops
)

// Count counts queries into t, until stop is called; then t may be read. Of a large batch
// every so-many-th is counted for the others too.
func (s *Service) Count(t *insight.Top) (stop func()) {
	end := s.lenses.Count(t)
	return func() {
		end()
		s.barrier()
	}
}

// regard looks at one query of a batch before it is served: at is its place, of the
// batch's length.
func (s *Service) regard(t *turn, at, of int, transport Transport, from udp.Dest, m []byte) {
	t.trace = nil
	var q dnswire.Query
	problem := dnswire.ParseQuery(m, &q)
	named := problem == dnswire.OK
	if named && q.Class == dnswire.ClassCH && dnswire.IsProbe(m, &q) {
		return // our own self-probe
	}
	var kbuf [maxKey]byte
	var name []byte
	if named {
		name = q.AppendKey(kbuf[:0], m)[:q.NameLen]
	}
	client := from.Peer.Addr()
	if step := insight.Stride(of); at%step == 0 {
		weight := min(step, of-at)
		for _, top := range t.lens.Tops {
			y := top.Of(t.book)
			y.Requests += uint64(weight) //nolint:gosec // a batch's length
			if named {
				y.Count(TopNames, name, weight)
			}
			if a := client.As16(); client.Is4() {
				y.Count(TopClients, a[12:], weight)
			} else {
				y.Count(TopClients, a[:], weight)
			}
		}
	}
	if len(t.lens.Traces) == 0 {
		return
	}
	t.trace = s.lenses.Request(t.lens, s.Name(), func(f *TraceFilter) bool {
		return (!f.Client.IsValid() || f.Client.Contains(client)) && (f.suffix == nil || named && below(name, f.suffix))
	})
	if t.trace != nil {
		t.look = look{t.hits, t.book.Drops[transport]}
		t.trace.Say("received", "%s from %s to %s, %d octets: %s", transport, from.Peer, from.Local, len(m), queryText(&q, m, problem))
	}
}

// below tells whether a name on the wire is suffix or below it.
func below(name, suffix []byte) bool {
	for ; len(name) >= len(suffix); name = name[int(name[0])+1:] {
		if bytes.Equal(name, suffix) {
			return true
		}
		if name[0] == 0 {
			break
		}
	}
	return false
}

// queryText is a query in words.
func queryText(q *dnswire.Query, m []byte, problem dnswire.Problem) string {
	if problem != dnswire.OK {
		return "malformed"
	}
	out := dnswire.NameString(q.Name(m)) + " " + typeText(q.Type)
	if q.Class != dnswire.ClassIN {
		out += " class " + strconv.Itoa(int(q.Class))
	}
	for _, f := range []struct {
		on   bool
		text string
	}{{q.RD(), " RD"}, {q.CD(), " CD"}, {q.OPT.Present, " EDNS"}, {q.OPT.DO, " DO"}, {q.OPT.HasCookie, " cookie"}, {q.OPT.HasECS, " subnet"}} {
		if f.on {
			out += f.text
		}
	}
	return out
}

func typeText(t uint16) string { return dns.Type(t).String() }

func rcodeText(rcode int) string {
	if s, ok := dns.RcodeToString[rcode]; ok {
		return s
	}
	return "rcode " + strconv.Itoa(rcode)
}

// look is what a turn keeps of the books while a traced query is served.
type look struct {
	hits  uint64
	drops [NumDrops]uint64
}

// after tells what came of a traced query in serve. It finds out why from what it left
// behind, so that serve itself tells nobody anything.
func (t *turn) after(transport Transport, client netip.Addr, r result, out []byte) {
	switch r {
	case answered:
		if t.hits > t.look.hits {
			t.trace.Say("cache", "%s, fresh for %d s more", rcodeText(int(out[3]&dnswire.RcodeMask)), t.h.left)
			t.trace.Say("answer", "%s", answerText(out, FromCache))
			return
		}
		t.why(client)
		t.trace.Say("answer", "%s", answerText(out, FromSelf))
	case missed:
		switch {
		case t.target != nil:
			t.trace.Say("policy", "a block list sends it to %s", dnswire.NameString(t.target))
		case t.set.cache == nil:
			t.trace.Say("cache", "off")
		case !t.q.RD(), t.subnet:
			t.trace.Say("cache", "passed over: RD is not set, or the client's subnet goes with it")
		default:
			t.trace.Say("cache", "nothing fresh")
		}
	case dropped, faulted:
		t.why(client)
		for why, n := range t.book.Drops[transport] {
			if n > t.look.drops[why] {
				t.trace.Say("drop", "%s", Drop(why)) //nolint:gosec // one of NumDrops
			}
		}
	case exempt:
	}
}

// why says which gate or policy a query met that neither cache nor backend was asked for.
func (t *turn) why(client netip.Addr) {
	if !t.set.allow.contains(client) {
		t.trace.Say("gate", "%s is outside allow", client)
		return
	}
	if n := t.q.NameLen; n > 0 && len(t.key) >= n {
		if b, rule := t.set.blocked(t.key[:n]); rule != nil {
			for i, known := range t.set.block {
				if known == b {
					t.trace.Say("policy", "block list %s names it: %s", t.set.blockSaid[i].file, rule.action)
				}
			}
			return
		}
	}
	t.trace.Say("gate", "answered or dropped here")
}

// answerText is an answer in words.
func answerText(msg []byte, source Source) string {
	out := rcodeText(int(msg[3]&dnswire.RcodeMask)) + ", " + strconv.Itoa(dnswire.ANCount(msg)) + " answer records, " + strconv.Itoa(len(msg)) + " octets"
	if dnswire.Flags(msg)&dnswire.FlagTC != 0 {
		out += ", truncated"
	}
	return out + ", from " + source.String()
}
