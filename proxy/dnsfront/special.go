package dnsfront

import (
	"net/netip"

	"sereno/proxy/dnswire"
)

// Names that are answered here, on the wire in lower case.
var (
	nameIDServer     = wire("id.server.")
	nameHostnameBind = wire("hostname.bind.")
	nameResolverArpa = wire("_dns.resolver.arpa.")
	localTTL         = uint32(300) // of records that we make, seconds
	nobodySOA        = append(append(wire("."), wire(".")...), 0, 0, 0, 1, 0, 0, 14, 16, 0, 0, 4, 176, 0, 9, 58, 128, 0, 0, 1, 44)
)

func wire(s string) []byte {
	name, ok := dnswire.ParseName(nil, s)
	if !ok {
		panic("dnsfront: not a name: " + s)
	}
	return name
}

// special answers what is not for the backends: other classes, zone transfers, ANY over
// UDP, and names that are about ourselves.
func (s *Service) special(t *turn, m, out []byte) (n int, r result, done bool) {
	q := &t.q
	switch {
	case q.Class == dnswire.ClassCH:
		return s.chaos(t, m, out), answered, true
	case q.Class != dnswire.ClassIN, q.Type == dnswire.TypeAXFR, q.Type == dnswire.TypeIXFR:
		n, r = s.self(t, m, out, dnswire.Refused, noEDE)
		return n, r, true
	case q.Type == dnswire.TypeANY && t.a.transport == UDP && t.set.cfg.Any != "pass":
		// RFC 8482 §4.4: over TCP the asker is known not to be forged.
		if t.set.cfg.Any == "refuse" {
			n, r = s.self(t, m, out, dnswire.Refused, noEDE)
			return n, r, true
		}
		return s.truncate(t, m, out), answered, true
	case q.NameLen == len(nameResolverArpa) && dnswire.EqualFold(q.Name(m), nameResolverArpa):
		return s.discovery(t, m, out), answered, true
	}
	return 0, 0, false
}

// chaos answers questions of class CH: who we are, but not what we run (RFC 4892).
func (s *Service) chaos(t *turn, m, out []byte) int {
	name := t.q.Name(m)
	if s.node == "" || !dnswire.EqualFold(name, nameIDServer) && !dnswire.EqualFold(name, nameHostnameBind) {
		n, _ := s.self(t, m, out, dnswire.Refused, noEDE)
		return n
	}
	msg := dnswire.AppendReply(out[:0], m, &t.q, dnswire.FlagAA, dnswire.NoError)
	if t.q.Type == dnswire.TypeTXT || t.q.Type == dnswire.TypeANY {
		var room [256]byte
		msg = dnswire.AppendRR(msg, dnswire.TypeTXT, dnswire.ClassCH, 0, dnswire.AppendTXT(room[:0], s.node))
	}
	return s.own(t, m, out, len(msg))
}

// discovery answers _dns.resolver.arpa with our own encrypted listeners (RFC 9462 §4),
// or with nothing: it is never forwarded.
func (s *Service) discovery(t *turn, m, out []byte) int {
	msg := dnswire.AppendReply(out[:0], m, &t.q, dnswire.FlagAA|dnswire.FlagRA, dnswire.NoError)
	if t.q.Type == dnswire.TypeSVCB {
		for _, rdata := range t.set.designated {
			msg = dnswire.AppendRR(msg, dnswire.TypeSVCB, dnswire.ClassIN, localTTL, rdata)
		}
	}
	if dnswire.ANCount(msg) == 0 {
		msg = dnswire.AppendRR(msg, dnswire.TypeSOA, dnswire.ClassIN, localTTL, nobodySOA)
		dnswire.SetCounts(msg, 1, 0, 1, 0)
	}
	return s.own(t, m, out, len(msg))
}

// own finishes an answer with records of our own in out[:n] and counts it.
func (s *Service) own(t *turn, m, out []byte, n int) int {
	if n > t.a.room() {
		return s.truncate(t, m, out)
	}
	t.own++
	t.book.answered(t.a.transport, FromSelf, dnswire.NoError)
	return s.addOPT(t.set, out, n, &t.a, dnswire.NoError, nil)
}

// truncate tells the client to come back over TCP, and counts it.
func (s *Service) truncate(t *turn, m, out []byte) int {
	t.own++
	t.book.answered(t.a.transport, FromSelf, dnswire.NoError)
	n := s.refuse(t.set, out, &t.a, t.q.Question(m), dnswire.NoError, noEDE, "")
	dnswire.SetFlags(out, dnswire.Flags(out)|dnswire.FlagTC)
	return n
}

// cookie looks at the client's cookie and prepares ours (RFC 7873 §5.2, RFC 9018). It
// tells whether the client has proven its address.
func (s *Service) cookie(t *turn, m []byte, client netip.Addr) (proven bool) {
	if len(t.set.cookies) == 0 || !t.q.OPT.HasCookie || !goodCookieLength(t.q.OPT.Cookie.Len) {
		return false
	}
	sent := t.q.OPT.Cookie.In(m)
	proven = t.set.cookies.valid(sent, client, t.unix)
	copy(t.a.cookie[:], sent[:clientCookie])
	t.set.cookies.sign(&t.a.cookie, client, t.unix)
	t.a.cookieOK = true
	return proven
}

// goodSubnet tells whether a client subnet option is well-formed (RFC 7871 §6, §7.1.2).
func goodSubnet(b []byte) bool {
	if len(b) < 4 || len(b) > maxSubnet || b[3] != 0 {
		return false
	}
	bits := int(b[2])
	family := int(b[0])<<8 | int(b[1])
	if family != 1 && family != 2 && (family != 0 || bits != 0) || family == 1 && bits > 32 || bits > 128 || len(b)-4 != (bits+7)/8 {
		return false
	}
	return bits%8 == 0 || b[len(b)-1]&(0xff>>(bits%8)) == 0
}
