//go:build !race

package radwire

import (
	"strings"
	"testing"
)

func TestNothingAllocates(t *testing.T) {
	req := packet(AccessRequest, 5, attr(AttrUserName, "alice"), attr(AttrUserPassword, strings.Repeat("p", 32)), attr(AttrMessageAuthenticator, strings.Repeat("m", 16)), attr(AttrProxyState, "theirs"))
	reply := packet(AccessAccept, 5, attr(AttrTunnelPassword, "\x01"+strings.Repeat("k", 34)), vsa(311, attr(16, strings.Repeat("k", 34))), attr(AttrProxyState, "ours"))
	dst := make([]byte, MaxLen)
	state := []byte("ours")
	var ix, rix Index
	got := testing.AllocsPerRun(200, func() {
		p, err := Walk(req, &ix)
		if err != nil {
			t.Fatal(err)
		}
		auth := PacketAuthenticator(p)
		testNAS.VerifyMessageAuthenticator(p, ix.First[AttrMessageAuthenticator], &auth)
		rr := RequestRewrite{Identifier: 1, Authenticator: authB, From: testNAS, To: testBackend, ProxyState: state}
		if _, err := RewriteRequest(dst, p, &ix, &rr); err != nil {
			t.Fatal(err)
		}
		r, err := Walk(reply, &rix)
		if err != nil {
			t.Fatal(err)
		}
		testBackend.VerifyResponse(r, &auth)
		back := ReplyRewrite{Identifier: 1, Request: p, Index: &ix, Sent: authB, From: testBackend, To: testNAS, ProxyState: state}
		if _, err := RewriteReply(dst, r, &rix, &back); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations for one transaction", got)
	}
}
