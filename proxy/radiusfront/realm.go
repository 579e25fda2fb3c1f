package radiusfront

import (
	"bytes"

	"sereno/proxy/radwire"
)

// maxRealm is the longest realm that a route can match: a domain name's length.
const maxRealm = 255

// route is where a request goes: the pool of its user's realm, else the
// service's own; and whether the realm is to be taken off the name (R36).
func (w *worker) route(p []byte) (t *target, strip bool) {
	v := w.view
	if v.realms.empty() {
		return v.fallback, false
	}
	r, ok := v.realms.find(realmOf(w.ix.FirstValue(p, radwire.AttrUserName)))
	if !ok {
		return v.fallback, false
	}
	return r.target, r.strip && !w.ix.Has(radwire.AttrEAPMessage) && !radwire.IsMSCHAP(p, &w.ix)
}

// realmOf is what stands after the last @ of a user's name, else before the
// first slash; nil if there is neither.
func realmOf(user []byte) []byte {
	if i := bytes.LastIndexByte(user, '@'); i >= 0 {
		return user[i+1:]
	}
	if i := bytes.IndexByte(user, '/'); i >= 0 {
		return user[:i]
	}
	return nil
}

// withoutRealm is the user's name without what realmOf finds.
func withoutRealm(user []byte) []byte {
	if i := bytes.LastIndexByte(user, '@'); i >= 0 {
		return user[:i]
	}
	if i := bytes.IndexByte(user, '/'); i >= 0 {
		return user[i+1:]
	}
	return user
}

// stripped is the name that the backend is to see, in a buffer of the worker's; nil: as it
// came, also where nothing would be left (RFC 2865 section 5.1 has no empty name).
func (w *worker) stripped(p []byte) []byte {
	user := w.ix.FirstValue(p, radwire.AttrUserName)
	if bare := withoutRealm(user); len(bare) > 0 && len(bare) < len(user) {
		return w.buffers.keep(bare)
	}
	return nil
}

func (t *realmTable) empty() bool { return len(t.exact) == 0 && len(t.suffixes) == 0 }

// find is the route of a realm, without regard to case: the one that names
// it, else the longest "*." suffix.
func (t *realmTable) find(realm []byte) (realmRoute, bool) {
	if len(realm) == 0 || len(realm) > maxRealm {
		return realmRoute{}, false
	}
	var buf [maxRealm]byte
	low := buf[:copy(buf[:], realm)]
	for i, c := range low {
		if 'A' <= c && c <= 'Z' {
			low[i] = c + 'a' - 'A'
		}
	}
	if r, ok := t.exact[string(low)]; ok {
		return r, true
	}
	for i, c := range low {
		if c != '.' || i == 0 {
			continue
		}
		if r, ok := t.suffixes[string(low[i:])]; ok {
			return r, true
		}
	}
	return realmRoute{}, false
}
