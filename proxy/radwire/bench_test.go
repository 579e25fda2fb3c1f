package radwire

import (
	"strings"
	"testing"
)

// BenchmarkTransaction is all the computing that one PAP authentication takes:
// verify, rewrite and sign the request, verify, rewrite and sign the reply.
func BenchmarkTransaction(b *testing.B) {
	req := packet(AccessRequest, 5, attr(AttrUserName, "alice@example.net"), attr(AttrUserPassword, strings.Repeat("p", 16)),
		attr(AttrNASIPAddress, "\x0a\x00\x00\x01"), attr(AttrCallingStationID, "00:11:22:33:44:55"), attr(AttrNASPortID, "ge-0/0/1.100:200"),
		attr(AttrMessageAuthenticator, strings.Repeat("m", 16)))
	reply := packet(AccessAccept, 5, attr(AttrFramedIPAddress, "\x0a\x01\x00\x01"), attr(AttrClass, "0123456789abcdef"), attr(AttrProxyState, "ours"))
	dst, state := make([]byte, MaxLen), []byte("ours")
	var ix, rix Index
	b.ReportAllocs()
	for b.Loop() {
		p, _ := Walk(req, &ix)
		auth := PacketAuthenticator(p)
		testNAS.VerifyMessageAuthenticator(p, ix.First[AttrMessageAuthenticator], &auth)
		rr := RequestRewrite{Identifier: 1, Authenticator: authB, From: testNAS, To: testBackend, ProxyState: state}
		_, _ = RewriteRequest(dst, p, &ix, &rr)
		r, _ := Walk(reply, &rix)
		testBackend.VerifyResponse(r, &auth)
		back := ReplyRewrite{Identifier: 1, Request: p, Index: &ix, Sent: authB, From: testBackend, To: testNAS, ProxyState: state}
		_, _ = RewriteReply(dst, r, &rix, &back)
	}
}
