package dnsfront

import (
	"time"

	"sereno/proxy/dnswire"
)

// paddingBlock is what answers over encrypted transports are padded to, in octets.
const paddingBlock = 468

var zeros [paddingBlock]byte

// ask is what must be remembered of a client's query to answer it: a value without
// pointers, next to the question as the client wrote it.
type ask struct {
	id, flags uint16
	limit     uint16 // octets that the answer may have
	opt       bool   // the client speaks EDNS
	do        bool
	nsid      bool
	keepalive bool
	padding   bool
	cookieOK  bool // cookie is to be sent
	transport Transport
	cookie    [fullCookie]byte
}

// take takes over what is needed of a parsed query. udpSize is the size of an answer over
// UDP. It writes each field where it is: a value that is built and copied right away costs
// more than all the rest of it.
func (a *ask) take(q *dnswire.Query, t Transport, udpSize int) {
	a.id, a.flags, a.transport = q.ID, q.Flags, t
	a.opt, a.do, a.nsid = q.OPT.Present, q.OPT.DO, q.OPT.HasNSID
	a.keepalive = q.OPT.HasKeepalive && (t == TCP || t == TLS)
	a.padding = q.OPT.HasPadding && (t == TLS || t == HTTPS)
	a.cookieOK = false
	a.limit = dnswire.MaxMessage
	if t == UDP {
		a.limit = uint16(q.UDPLimit(udpSize)) //nolint:gosec // udp_size is at most 4096
	}
}

// room is how many octets an answer may have before OPT is added. Over UDP it leaves room for
// the cookie too: who has had one may take an answer without it for a forged one (RFC 7873 §5.3).
func (a *ask) room() int {
	n := int(a.limit)
	if a.opt {
		n -= dnswire.OPTLen
	}
	if a.cookieOK && a.transport == UDP {
		n -= cookieOption
	}
	return n
}

// extra is what goes into the answer's OPT besides the size.
type extra struct {
	rcode int    // with its upper bits
	ede   []byte // encoded options; left out first when they do not fit
}

// finish turns the first n octets of buf, an answer to question without OPT, into the
// answer for one client: its ID, its question as it wrote it, its flags, and an OPT if
// and only if it sent one (RFC 6891 §6.1.1). whole tells that the answer is all there;
// otherwise buf holds header and question, and TC is set. keepAA is false for what
// comes from the cache (D09). It returns the length. The room for OPT was left by room.
func (s *Service) finish(set *settings, buf []byte, n int, a *ask, question []byte, whole, keepAA bool, x extra) int {
	f := dnswire.Flags(buf)
	keep := uint16(dnswire.FlagRA)
	if keepAA {
		keep |= dnswire.FlagAA
	}
	if a.do || a.flags&dnswire.FlagAD != 0 { // RFC 6840 §5.8
		keep |= dnswire.FlagAD
	}
	rcode := x.rcode
	if rcode > dnswire.RcodeMask && !a.opt {
		rcode = dnswire.ServFail // it cannot be said without EDNS
	}
	f = f&keep | dnswire.FlagQR | a.flags&(dnswire.FlagRD|dnswire.FlagCD) | uint16(rcode)&dnswire.RcodeMask
	if !whole {
		f |= dnswire.FlagTC
		dnswire.SetCounts(buf, 1, 0, 0, 0)
	}
	dnswire.SetID(buf, a.id)
	dnswire.SetFlags(buf, f)
	copy(buf[dnswire.HeaderLen:], question)
	return s.addOPT(set, buf, n, a, rcode, x.ede)
}

// addOPT adds our OPT to the n octets of an answer, if the client sent one. It is written
// where it stands; buf must have room for all of it.
func (s *Service) addOPT(set *settings, buf []byte, n int, a *ask, rcode int, ede []byte) int {
	if !a.opt {
		return n
	}
	msg := dnswire.AddOPT(buf[:n], set.cfg.UDPSize, rcode, a.do, nil)
	options := len(msg)
	left := int(a.limit) - options
	if a.cookieOK && cookieOption <= left {
		msg = dnswire.AppendOption(msg, dnswire.OptionCookie, a.cookie[:])
	}
	if a.keepalive && len(msg)-options+6 <= left {
		// RFC 7828 §3.1: units of 100 ms.
		units := s.streams.idle(&set.cfg.TCP) / (100 * time.Millisecond)
		msg = dnswire.AppendOption(msg, dnswire.OptionKeepalive, []byte{byte(units >> 8), byte(units)})
	}
	if a.nsid && len(msg)-options+4+len(s.nsid) <= left {
		msg = dnswire.AppendOption(msg, dnswire.OptionNSID, s.nsid)
	}
	if len(ede) > 0 && len(ede) <= left-(len(msg)-options) && len(ede) <= maxEDE {
		msg = append(msg, ede...)
	}
	if a.padding {
		// RFC 8467 §4.1: to a multiple of 468 octets; the option's own four count.
		bare := len(msg) + 4
		if pad := (paddingBlock - bare%paddingBlock) % paddingBlock; bare+pad <= int(a.limit) {
			msg = dnswire.AppendOption(msg, dnswire.OptionPadding, zeros[:pad])
		}
	}
	dnswire.SetOptionsLen(msg, options)
	return len(msg)
}

// refuse writes an answer of our own without records into buf: header, question, and
// OPT with an extended error (noEDE: none). RA is set as by a resolver.
func (s *Service) refuse(set *settings, buf []byte, a *ask, question []byte, rcode int, ede int, text string) int {
	if rcode > dnswire.RcodeMask && !a.opt {
		rcode = dnswire.ServFail
	}
	buf[0], buf[1] = byte(a.id>>8), byte(a.id)
	f := dnswire.FlagQR | dnswire.FlagRA | a.flags&(dnswire.OpcodeMask|dnswire.FlagRD|dnswire.FlagCD) | uint16(rcode)&dnswire.RcodeMask
	dnswire.SetFlags(buf, f)
	qd := 0
	if len(question) > 0 {
		qd = 1
	}
	dnswire.SetCounts(buf, qd, 0, 0, 0)
	n := dnswire.HeaderLen + copy(buf[dnswire.HeaderLen:], question)
	if ede == noEDE {
		return s.addOPT(set, buf, n, a, rcode, nil)
	}
	var room [maxEDE]byte
	return s.addOPT(set, buf, n, a, rcode, dnswire.AppendEDE(room[:0], uint16(ede), text)) //nolint:gosec // a code of RFC 8914
}

// noEDE says that there is no extended error.
const noEDE = -1
