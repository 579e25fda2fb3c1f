package radiusfront

import (
	"net/netip"
	"slices"
	"time"

	"sereno/proxy/radwire"
)

const (
	// maxNames bounds the NAS names that are known, and maxClaims the NASes of one name.
	maxNames  = 65536
	maxClaims = 4
	// maxNameLen is the longest NAS-Identifier that is remembered.
	maxNameLen = 64
	// nameAgain is how often a worker tells a name again that it has told.
	nameAgain = int64(10 * time.Second)
)

// nasName is what a NAS calls itself: NAS-Identifier, NAS-IP-Address or
// NAS-IPv6-Address with its value.
type nasName struct {
	typ byte
	len byte
	val [maxNameLen]byte
}

func makeNASName(typ byte, v []byte) (nasName, bool) {
	if len(v) == 0 || len(v) > maxNameLen {
		return nasName{}, false
	}
	n := nasName{typ: typ, len: byte(len(v))}
	copy(n.val[:], v)
	return n, true
}

// nasAttrs are the attributes by which a NAS names itself, in the order in
// which they are believed.
var nasAttrs = [...]byte{radwire.AttrNASIdentifier, radwire.AttrNASIPAddress, radwire.AttrNASIPv6Address}

// nasClaims are the addresses of the NASes that go by one name, the one that told it last first. Many a NAS has the
// name that it came with from the factory, and several the same address behind a translator.
type nasClaims struct {
	addrs    [maxClaims]netip.Addr // the zero Addr behind the last
	verified bool                  // the first was told by a request that verified
}

// with is the claims after nas told the name. An unverified request takes the first place from none that verified.
func (c nasClaims) with(nas netip.Addr, verified bool) nasClaims {
	at := slices.Index(c.addrs[:], nas)
	if !verified && c.verified {
		if free := slices.Index(c.addrs[:], netip.Addr{}); at < 0 && free > 0 {
			c.addrs[free] = nas
		}
		return c
	}
	if at < 0 {
		at = maxClaims - 1
	}
	copy(c.addrs[1:at+1], c.addrs[:at])
	c.addrs[0], c.verified = nas, verified
	return c
}

// toldName is what a worker has told of a name last.
type toldName struct {
	nas netip.Addr
	at  int64
}

// learnName notes what the NAS at an address calls itself: once for each worker and change, and now and then again, since
// another worker may have told of another NAS meanwhile.
func (w *worker) learnName(nas netip.Addr, verified bool, p []byte) {
	for _, typ := range nasAttrs {
		n, ok := makeNASName(typ, w.ix.FirstValue(p, typ))
		if told := w.names[n]; !ok || told.nas == nas && w.now-told.at < nameAgain {
			continue
		}
		if len(w.names) >= maxNames {
			clear(w.names)
		}
		w.names[n] = toldName{nas, w.now}
		w.service.sessions.name(n, nas, verified)
	}
}

func (s *sessions) name(n nasName, nas netip.Addr, verified bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, known := s.names[n]
	if !known && len(s.names) >= maxNames {
		for old := range s.names { // any: who is still there tells its name again
			delete(s.names, old)
			break
		}
	}
	if now := c.with(nas, verified); now != c {
		s.names[n] = now
	}
}

// named appends the addresses of the NASes that call themselves so.
func (s *sessions) named(dst []netip.Addr, n nasName) []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.names[n]
	for _, a := range c.addrs {
		if a.IsValid() {
			dst = append(dst, a)
		}
	}
	return dst
}

// nasNamed is the NAS that a request names; named is false if it names none. Of several that go by what it says it is the one
// that has the session, else the one that most of the names fit, else the one whose name was told last.
func (w *worker) nasNamed(keys sessionKeys, p []byte) (nas netip.Addr, named bool) {
	var room [len(nasAttrs) * maxClaims]netip.Addr
	all := room[:0]
	for _, typ := range nasAttrs {
		if v := w.ix.FirstValue(p, typ); v != nil {
			named = true
			all = w.nasesOf(all, typ, v)
		}
	}
	most := 0
	for _, a := range all {
		if w.view.clients.lookup(a) == nil {
			continue // it has left the configuration
		}
		points := 0
		for _, other := range all {
			if other == a {
				points++
			}
		}
		if points < len(all) {
			if _, _, ok := w.service.sessions.locate(keys, a); ok {
				points += len(all)
			}
		}
		if points > most {
			nas, most = a, points
		}
	}
	return nas, named
}

// nasesOf appends the addresses of the NASes with that name: where their own requests come from, or the address that it names
// when that is a client's.
func (w *worker) nasesOf(dst []netip.Addr, typ byte, v []byte) []netip.Addr {
	if n, ok := makeNASName(typ, v); ok {
		if found := w.service.sessions.named(dst, n); len(found) > len(dst) {
			return found
		}
	}
	a := netip.Addr{}
	if typ == radwire.AttrNASIdentifier {
		a = w.view.clients.address(v)
	} else if it, ok := netip.AddrFromSlice(v); ok && w.view.clients.lookup(it.Unmap()) != nil {
		a = it.Unmap()
	}
	if !a.IsValid() {
		return dst
	}
	return append(dst, a)
}
