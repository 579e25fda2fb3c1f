package radwire

import (
	"bytes"
	"errors"
)

// ErrTooLong means that the packet would pass 4096 bytes, or the buffer, with
// what has to be added. Nothing is ever cut (RFC 2865 section 3).
var ErrTooLong = errors.New("packet does not fit into 4096 bytes")

// RequestRewrite is what changes when a request goes on to a backend, or a
// CoA-Request to a NAS.
type RequestRewrite struct {
	Identifier    byte
	Authenticator Authenticator // of an Access-Request, random; the other codes' is computed
	From, To      *Secret       // the sender's secret, the receiver's
	ProxyState    []byte        // value of our Proxy-State; nil: none is added
	StripStates   bool          // take every Proxy-State out: for a NAS that refuses CoA with it (RFC 5176 section 3.1)
	UserName      []byte        // replaces User-Name when not nil; at most 253 bytes
}

// RewriteRequest writes into dst the request src as the receiver must see it
// and returns its length. src comes from Walk with ix and is not changed; dst
// must not overlap it.
//
// An Access-Request gets a Message-Authenticator as its first attribute
// instead of the one it had (RFC 3579 section 3.2, CVE-2024-3596); other codes
// keep theirs in its place, computed anew. User-Password and the attributes
// that are hidden under the secret are re-encrypted. CHAP-Password without
// CHAP-Challenge gets one, since its challenge was the authenticator that is
// replaced here (RFC 2865 section 2.2). Our Proxy-State comes after all
// others, and is left out where it would not fit (RFC 2865 section 2.3).
// Everything else is the same bytes in the same order.
func RewriteRequest(dst, src []byte, ix *Index, r *RequestRewrite) (int, error) {
	code := PacketCode(src)
	fromAuth, toAuth := hidingAuth(code, src, &r.Authenticator)
	w := writer{dst: dst[:min(len(dst), MaxLen)], n: HeaderLen}
	w.begin(src, ix, code)
	if r.StripStates {
		w.dropAll = true
	}
	if r.UserName != nil && ix.Has(AttrUserName) {
		w.replaceAt, w.replacement = int(ix.First[AttrUserName]), r.UserName
	}
	w.attributes(src, ix)
	if code == AccessRequest && ix.Has(AttrCHAPPassword) && !ix.Has(AttrCHAPChallenge) {
		w.attribute(AttrCHAPChallenge, src[4:HeaderLen])
	}
	if w.full {
		return 0, ErrTooLong
	}
	k := keys{from: r.From, to: r.To, fromAuth: fromAuth, toAuth: toAuth}
	if ix.UserPasswords > 0 {
		k.passwords(w.dst[HeaderLen:w.n])
	}
	if ix.Has(AttrVendorSpecific) || ix.Has(AttrTunnelPassword) {
		k.attributes(w.dst[HeaderLen:w.n])
	}
	if r.ProxyState != nil {
		w.attribute(AttrProxyState, r.ProxyState)
	}
	p := w.dst[:w.n]
	PutHeader(p, code, r.Identifier, w.n)
	copy(p[4:HeaderLen], r.Authenticator[:])
	if w.messageAuth != 0 {
		r.To.SignMessageAuthenticator(p, w.messageAuth, &toAuth)
	}
	if code != AccessRequest && code != StatusServer {
		r.To.SignRequest(p)
	}
	return w.n, nil
}

// hidingAuth are the authenticators that hide attributes in a request and
// stand in its Message-Authenticator: the header's own in an Access-Request,
// zeros where the header's is a digest of the rest (RFC 5176 section 2.3).
func hidingAuth(code Code, src []byte, sent *Authenticator) (from, to Authenticator) {
	if code == AccessRequest || code == StatusServer {
		return PacketAuthenticator(src), *sent
	}
	return Authenticator{}, Authenticator{}
}

// ReplyRewrite is what changes when a reply goes back to who asked.
type ReplyRewrite struct {
	Identifier byte          // that the request came with
	Request    []byte        // the request as it came, from Walk
	Index      *Index        // of Request
	Sent       Authenticator // that we sent it on with
	From, To   *Secret       // the answerer's secret, the asker's
	ProxyState []byte        // value of ours, nil if none was sent
}

// RewriteReply writes into dst the reply src as the asker must see it and
// returns its length. src comes from Walk with ix and has been verified; it
// is not changed, and dst must not overlap it.
//
// Our Proxy-State is taken out, no other one; if the answerer returned none
// at all of the asker's, they are given back from the request (RFC 2865
// section 2.3). Access-Accept, -Reject and -Challenge get a
// Message-Authenticator as their first attribute instead of the one they had;
// other codes keep theirs in its place, that of an Accounting-Response in the
// form it came in, over the request's authenticator or over zeros: a NAS of
// FreeRADIUS's make verifies the latter only. Hidden attributes are re-encrypted.
func RewriteReply(dst, src []byte, ix *Index, r *ReplyRewrite) (int, error) {
	code := PacketCode(src)
	w := writer{dst: dst[:min(len(dst), MaxLen)], n: HeaderLen}
	w.begin(src, ix, code)
	states := ix.ProxyStates
	if r.ProxyState != nil && ix.ProxyStates > 0 {
		if at := findLast(src, ix, r.ProxyState); at != 0 {
			w.dropAt = at
			states--
		}
	}
	w.attributes(src, ix)
	if w.full {
		return 0, ErrTooLong
	}
	if ix.Has(AttrVendorSpecific) || ix.Has(AttrTunnelPassword) {
		k := keys{from: r.From, to: r.To, fromAuth: r.Sent, toAuth: PacketAuthenticator(r.Request)}
		k.attributes(w.dst[HeaderLen:w.n])
	}
	if states == 0 && r.Index.ProxyStates > 0 {
		w.proxyStates(r.Request, r.Index)
	}
	p := w.dst[:w.n]
	PutHeader(p, code, r.Identifier, w.n)
	asked := PacketAuthenticator(r.Request)
	if w.messageAuth != 0 {
		over := &asked
		if code == AccountingResponse && r.From.VerifyMessageAuthenticator(src, ix.First[AttrMessageAuthenticator], &zeros) {
			over = &zeros
		}
		r.To.SignMessageAuthenticator(p, w.messageAuth, over)
	}
	r.To.SignResponse(p, &asked)
	return w.n, nil
}

// Reply writes an answer of our own to request, which comes from Walk with
// ix: attrs, then the request's Proxy-States, with a Message-Authenticator
// first when the code is an Access-* or the request had one. An answer to an
// Accounting-Request has none: NASes do not agree on what it would be computed
// over (see RewriteReply), and RFC 2866 knows none. It returns the length.
func Reply(dst []byte, code Code, attrs, request []byte, ix *Index, secret *Secret) (int, error) {
	w := writer{dst: dst[:min(len(dst), MaxLen)], n: HeaderLen}
	if code.access() || ix.Has(AttrMessageAuthenticator) && PacketCode(request) != AccountingRequest {
		w.messageAuth = HeaderLen
		w.attribute(AttrMessageAuthenticator, zeros[:])
	}
	w.copy(attrs)
	if w.full {
		return 0, ErrTooLong
	}
	w.proxyStates(request, ix)
	p := w.dst[:w.n]
	PutHeader(p, code, request[1], w.n)
	asked := PacketAuthenticator(request)
	if w.messageAuth != 0 {
		secret.SignMessageAuthenticator(p, w.messageAuth, &asked)
	}
	secret.SignResponse(p, &asked)
	return w.n, nil
}

// findLast is the offset of the last Proxy-State of p whose value is want, 0
// if there is none. A hop behind us adds its own after ours, and may have
// forgotten to take it off.
func findLast(p []byte, ix *Index, want []byte) int {
	if bytes.Equal(Value(p, ix.LastProxyState), want) {
		return int(ix.LastProxyState)
	}
	found := 0
	for off := int(ix.First[AttrProxyState]); off < len(p); off += int(p[off+1]) {
		if p[off] == AttrProxyState && bytes.Equal(Value(p, uint16(off)), want) {
			found = off
		}
	}
	return found
}

// writer copies a packet's attributes with at most a few cuts.
type writer struct {
	dst         []byte
	n           int
	full        bool   // something did not fit
	messageAuth uint16 // where the new packet's Message-Authenticator stands, 0: it has none
	dropMA      bool   // the old one is not copied: the new one stands first
	dropAll     bool   // no Proxy-State is copied
	dropAt      int    // offset in the source of the attribute that is left out
	replaceAt   int    // offset in the source of the attribute that gets replacement
	replacement []byte
}

// begin puts the Message-Authenticator first where it has to be.
func (w *writer) begin(src []byte, ix *Index, code Code) {
	if code.access() {
		w.messageAuth, w.dropMA = HeaderLen, true
		w.attribute(AttrMessageAuthenticator, zeros[:])
	}
}

func (w *writer) copy(b []byte) {
	if w.n+len(b) > len(w.dst) {
		w.full = true
		return
	}
	w.n += copy(w.dst[w.n:], b)
}

// attribute appends one whole attribute, or nothing and sets full.
func (w *writer) attribute(typ byte, value []byte) {
	if len(value) > maxAttributeLen-2 || w.n+2+len(value) > len(w.dst) {
		w.full = true
		return
	}
	w.dst[w.n], w.dst[w.n+1] = typ, byte(len(value)+2)
	w.n += 2 + copy(w.dst[w.n+2:], value)
}

// attributes copies src's attributes in runs between the cuts.
func (w *writer) attributes(src []byte, ix *Index) {
	ma := int(ix.First[AttrMessageAuthenticator])
	if w.dropAll && ix.ProxyStates > 0 {
		w.oneByOne(src, ma)
		return
	}
	// At most three places interrupt the copy: visit them in their order.
	run := HeaderLen
	for run < len(src) {
		cut := len(src)
		for _, at := range [...]int{ma, w.dropAt, w.replaceAt} {
			if at >= run && at < cut {
				cut = at
			}
		}
		w.copy(src[run:cut])
		if cut == len(src) {
			return
		}
		w.special(src, cut, ma)
		run = cut + int(src[cut+1])
	}
}

func (w *writer) oneByOne(src []byte, ma int) {
	for off := HeaderLen; off < len(src); off += int(src[off+1]) {
		switch {
		case src[off] == AttrProxyState:
		case off == ma || off == w.dropAt || off == w.replaceAt:
			w.special(src, off, ma)
		default:
			w.copy(src[off : off+int(src[off+1])])
		}
	}
}

// special handles the attribute of src at off, which is one of the cuts.
func (w *writer) special(src []byte, off, ma int) {
	switch off {
	case ma:
		if !w.dropMA {
			w.messageAuth = uint16(w.n)
			w.copy(src[off : off+messageAuthLen])
		}
	case w.replaceAt:
		w.attribute(src[off], w.replacement)
	}
}

// proxyStates appends the Proxy-States of request; those that would not fit
// are left out whole.
func (w *writer) proxyStates(request []byte, ix *Index) {
	if ix.ProxyStates == 0 {
		return
	}
	for off := int(ix.First[AttrProxyState]); off < len(request); off += int(request[off+1]) {
		if request[off] == AttrProxyState {
			w.attribute(AttrProxyState, Value(request, uint16(off)))
		}
	}
}

// passwords changes the keys of every User-Password in attrs.
func (k *keys) passwords(attrs []byte) {
	for len(attrs) > 0 {
		l := int(attrs[1])
		if attrs[0] == AttrUserPassword {
			recryptPassword(attrs[2:l], k.from, &k.fromAuth, k.to, &k.toAuth)
		}
		attrs = attrs[l:]
	}
}
