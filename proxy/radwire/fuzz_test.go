package radwire

import (
	"bytes"
	"testing"

	"layeh.com/radius"
)

func seeds(f *testing.F) {
	f.Add(packet(AccessRequest, 1, attr(AttrUserName, "alice"), attr(AttrUserPassword, "0123456789abcdef"), attr(AttrMessageAuthenticator, "0123456789abcdef")))
	f.Add(packet(AccessAccept, 1, vsa(311, attr(16, "0123456789abcdef0123456789abcdef01")), attr(AttrTunnelPassword, "\x010123456789abcdef01")))
	f.Add(packet(AccountingRequest, 1, attr(AttrProxyState, "a"), attr(AttrProxyState, "b")))
	f.Add(packet(CoARequest, 1, vsa(4874, attr(58, "x"))))
	f.Add(packet(AccessRequest, 1, attr(AttrCHAPPassword, "01234567890123456")))
}

// FuzzWalk compares with the oracle: what we accept it accepts, with the same
// attributes, and what only we refuse has two Message-Authenticators or one
// of a wrong length.
func FuzzWalk(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var ix Index
		p, err := Walk(b, &ix)
		theirs, oracleErr := radius.Parse(b, nil)
		if err != nil {
			if oracleErr == nil && err != ErrTwoMessageAuthenticators && err != ErrMessageAuthenticator {
				t.Fatalf("we refuse (%v) what the oracle reads", err)
			}
			return
		}
		if oracleErr != nil {
			t.Fatalf("the oracle refuses: %v", oracleErr)
		}
		l := list(p)
		if len(l) != len(theirs.Attributes) {
			t.Fatalf("%d attributes, the oracle sees %d", len(l), len(theirs.Attributes))
		}
		for i, a := range theirs.Attributes {
			if l[i][0] != byte(a.Type) || !bytes.Equal(l[i][2:], a.Attribute) {
				t.Fatalf("attribute %d differs", i)
			}
		}
		_ = IsMSCHAP(p, &ix)
	})
}

// FuzzRewriteRequest: whatever was accepted leaves well-formed and verifiable,
// the attributes beside the hidden ones as they came; sent back through the
// opposite change of keys, the hidden ones are as they came too.
func FuzzRewriteRequest(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var ix, oix Index
		p, err := Walk(b, &ix)
		if err != nil || !PacketCode(p).request() {
			return
		}
		dst := make([]byte, MaxLen)
		rr := RequestRewrite{Identifier: 3, Authenticator: authB, From: testNAS, To: testBackend, ProxyState: []byte("ours")}
		n, err := RewriteRequest(dst, p, &ix, &rr)
		if err != nil {
			return
		}
		out, err := Walk(dst[:n], &oix)
		if err != nil || len(out) != n {
			t.Fatalf("we sent what we would refuse: %v", err)
		}
		if off := oix.First[AttrMessageAuthenticator]; off != 0 {
			auth := MessageAuthOf(out)
			if !testBackend.VerifyMessageAuthenticator(out, off, &auth) {
				t.Fatal("message-authenticator does not verify")
			}
		}
		back := make([]byte, MaxLen)
		rr = RequestRewrite{Identifier: p[1], Authenticator: PacketAuthenticator(p), From: testBackend, To: testNAS}
		m, err := RewriteRequest(back, out, &oix, &rr)
		if err != nil {
			return
		}
		unchanged(t, p, &ix, back[:m])
	})
}

// request tells whether a proxy forwards packets of this code.
func (c Code) request() bool {
	return c == AccessRequest || c == AccountingRequest || c == CoARequest || c == DisconnectRequest
}

// unchanged compares all attributes but those that a rewrite adds or signs.
func unchanged(t *testing.T, p []byte, ix *Index, q []byte) {
	t.Helper()
	var want, got [][]byte
	for _, a := range list(p) {
		if a[0] != AttrMessageAuthenticator {
			want = append(want, a)
		}
	}
	for _, a := range list(q) {
		if a[0] != AttrMessageAuthenticator {
			got = append(got, a)
		}
	}
	if len(got) < len(want) {
		t.Fatalf("%d attributes became %d", len(want), len(got))
	}
	hidden := ix.Has(AttrVendorSpecific) || ix.Has(AttrTunnelPassword)
	for i := range want {
		// The top bit of a salt may be set now; that is the one difference,
		// and with it the blocks of the first pass are of another salt.
		if hidden && (want[i][0] == AttrVendorSpecific || want[i][0] == AttrTunnelPassword) && len(want[i]) == len(got[i]) {
			continue
		}
		if !bytes.Equal(want[i], got[i]) {
			t.Fatalf("attribute %d: %x became %x", i, want[i], got[i])
		}
	}
}

// FuzzRewriteReply: the reply path with an arbitrary reply and an arbitrary
// request.
func FuzzRewriteReply(f *testing.F) {
	f.Add(packet(AccessRequest, 1, attr(AttrProxyState, "a")), packet(AccessAccept, 1, attr(AttrProxyState, "a"), attr(AttrProxyState, "ours")))
	f.Add(packet(AccountingRequest, 1), packet(AccountingResponse, 1, attr(AttrTunnelPassword, "\x010123456789abcdef01")))
	f.Fuzz(func(t *testing.T, req, reply []byte) {
		var ix, rix, oix Index
		p, err := Walk(req, &ix)
		if err != nil {
			return
		}
		r, err := Walk(reply, &rix)
		if err != nil {
			return
		}
		dst := make([]byte, MaxLen)
		rr := ReplyRewrite{Identifier: p[1], Request: p, Index: &ix, Sent: authB, From: testBackend, To: testNAS, ProxyState: []byte("ours")}
		n, err := RewriteReply(dst, r, &rix, &rr)
		if err != nil {
			return
		}
		out, err := Walk(dst[:n], &oix)
		asked := PacketAuthenticator(p)
		if err != nil || !testNAS.VerifyResponse(out, &asked) {
			t.Fatalf("we answered what the nas would refuse: %v", err)
		}
	})
}
