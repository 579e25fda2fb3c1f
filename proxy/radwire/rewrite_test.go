package radwire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
)

var (
	testNAS     = NewSecret([]byte("nas-secret"))
	testBackend = NewSecret([]byte("backend"))
)

func rewriteRequest(tb testing.TB, req []byte, state []byte) ([]byte, error) {
	tb.Helper()
	ix := mustWalk(tb, req)
	was := bytes.Clone(req)
	dst := make([]byte, MaxLen)
	n, err := RewriteRequest(dst, req, &ix, &RequestRewrite{Identifier: 200, Authenticator: authB, From: testNAS, To: testBackend, ProxyState: state})
	if !bytes.Equal(req, was) {
		tb.Fatal("the source was changed")
	}
	return dst[:n], err
}

func TestR03EverythingElseIsIdenticalAndInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	ma := attr(AttrMessageAuthenticator, strings.Repeat("m", 16))
	for range 3000 {
		before, after := randomAttrs(r, 1500), randomAttrs(r, 1500)
		password := attr(AttrUserPassword, string(bytes.Repeat([]byte{byte(r.Uint32())}, 16*(1+r.IntN(8)))))
		code := []Code{AccessRequest, AccountingRequest, CoARequest, DisconnectRequest}[r.IntN(4)]
		parts := [][]byte{before, after}
		if r.IntN(2) == 0 {
			parts = [][]byte{before, ma, after}
		}
		if r.IntN(2) == 0 && code == AccessRequest {
			parts = append(parts, password)
		}
		req := packet(code, 1, parts...)
		out, err := rewriteRequest(t, req, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := mustWalk(t, out); code == AccessRequest && got.First[AttrMessageAuthenticator] != HeaderLen {
			t.Fatal("message-authenticator is not the first attribute")
		}
		drop := func(p []byte) [][]byte {
			var l [][]byte
			for _, a := range list(p) {
				if a[0] == AttrMessageAuthenticator {
					if code == AccessRequest {
						continue
					}
					a = ma
				}
				if a[0] == AttrUserPassword {
					a = a[:2]
				}
				l = append(l, a)
			}
			return l
		}
		want, got := drop(req), drop(out)
		if len(got) != len(want) {
			t.Fatalf("%d attributes, want %d", len(got), len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("attribute %d: %x, want %x", i, got[i], want[i])
			}
		}
	}
}

func TestR03RepliesAreIdentical(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		attrs := randomAttrs(r, 3000)
		code := []Code{AccessAccept, AccessReject, AccessChallenge, AccountingResponse, CoAACK}[r.IntN(5)]
		reply := packet(code, 9, attrs)
		out := rewriteReply(t, packet(AccessRequest, 77, attr(AttrUserName, "x")), reply)
		got := out[HeaderLen:]
		if code.access() {
			got = got[messageAuthLen:]
		}
		if !bytes.Equal(got, attrs) || PacketCode(out) != code || out[1] != 77 {
			t.Fatalf("%v: attributes changed", code)
		}
	}
}

func TestR12FirstAttributeAndOneOnly(t *testing.T) {
	ma := attr(AttrMessageAuthenticator, strings.Repeat("m", 16))
	for _, attrs := range [][][]byte{{attr(1, "x")}, {attr(1, "x"), ma}, {ma, attr(1, "x")}, {ma}, {}} {
		out, err := rewriteRequest(t, packet(AccessRequest, 1, attrs...), nil)
		if err != nil {
			t.Fatal(err)
		}
		ix := mustWalk(t, out)
		auth := PacketAuthenticator(out)
		if auth != authB || ix.First[AttrMessageAuthenticator] != HeaderLen || !testBackend.VerifyMessageAuthenticator(out, HeaderLen, &auth) {
			t.Errorf("%q: not first or not valid", attrs)
		}
		reply := rewriteReply(t, packet(AccessRequest, 1), packet(AccessReject, 1, attrs...))
		ix = mustWalk(t, reply)
		asked := PacketAuthenticator(packet(AccessRequest, 1))
		if ix.First[AttrMessageAuthenticator] != HeaderLen || !testNAS.VerifyMessageAuthenticator(reply, HeaderLen, &asked) || !testNAS.VerifyResponse(reply, &asked) {
			t.Errorf("%q: reply's is not first or not valid", attrs)
		}
	}
	// Other codes keep it where it was, or have none.
	acct := packet(AccountingRequest, 1, attr(1, "x"), ma, attr(44, "s"))
	out, err := rewriteRequest(t, acct, nil)
	ix := mustWalk(t, out)
	if err != nil || ix.First[AttrMessageAuthenticator] != 23 || !testBackend.VerifyMessageAuthenticator(out, 23, &Authenticator{}) || !testBackend.VerifyRequest(out) {
		t.Errorf("accounting: %v, at %d", err, ix.First[AttrMessageAuthenticator])
	}
	out, err = rewriteRequest(t, packet(AccountingRequest, 1, attr(44, "s")), nil)
	if ix = mustWalk(t, out); err != nil || ix.Has(AttrMessageAuthenticator) || !testBackend.VerifyRequest(out) {
		t.Errorf("accounting without one: %v", err)
	}
}

// TestR12RepliesKeepTheirForm: the answers of FreeRADIUS go on as its own clients verify them: accounting over zeros, CoA
// over the request's authenticator whatever it came over. What we answer to accounting ourselves has none.
func TestR12RepliesKeepTheirForm(t *testing.T) {
	asked := PacketAuthenticator(packet(AccountingRequest, 1))
	for _, tt := range []struct {
		request, reply Code
		came, goes     Authenticator
	}{
		{AccountingRequest, AccountingResponse, authB, asked}, {AccountingRequest, AccountingResponse, Authenticator{}, Authenticator{}},
		{CoARequest, CoAACK, authB, asked}, {CoARequest, CoANAK, Authenticator{}, asked}, {DisconnectRequest, DisconnectACK, Authenticator{}, asked},
	} {
		reply := packet(tt.reply, 9, attr(25, "x"), attr(AttrMessageAuthenticator, "0000000000000000"))
		testBackend.SignMessageAuthenticator(reply, 23, &tt.came)
		testBackend.SignResponse(reply, &authB)
		out := rewriteReply(t, packet(tt.request, 1), reply)
		if !testNAS.VerifyMessageAuthenticator(out, 23, &tt.goes) || !testNAS.VerifyResponse(out, &asked) {
			t.Errorf("%v that came over %x does not go over %x", tt.reply, tt.came, tt.goes)
		}
	}
	for code, has := range map[Code]bool{AccountingRequest: false, StatusServer: true} {
		req := packet(code, 1, attr(AttrMessageAuthenticator, "0000000000000000"))
		ix, out := mustWalk(t, req), make([]byte, MaxLen)
		n, err := Reply(out, AccountingResponse, nil, req, &ix, testNAS)
		if ix = mustWalk(t, out[:n]); err != nil || ix.Has(AttrMessageAuthenticator) != has {
			t.Errorf("our answer to %v: %x, %v", code, out[:n], err)
		}
	}
}

func TestR14PasswordAndChallengeThroughTheOracle(t *testing.T) {
	req := radius.New(radius.CodeAccessRequest, []byte("nas-secret"))
	_ = rfc2865.UserName_SetString(req, "alice")
	_ = rfc2865.UserPassword_SetString(req, "correct horse battery staple")
	wire, err := req.Encode()
	if err != nil {
		t.Fatal(err)
	}
	out, err := rewriteRequest(t, wire, []byte("ours"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := radius.Parse(out, []byte("backend"))
	if err != nil || rfc2865.UserPassword_GetString(got) != "correct horse battery staple" || rfc2865.UserName_GetString(got) != "alice" {
		t.Errorf("%q, %v", rfc2865.UserPassword_GetString(got), err)
	}
	// CHAP without a challenge: the authenticator becomes it.
	chap := packet(AccessRequest, 1, attr(AttrCHAPPassword, strings.Repeat("c", 17)))
	out, err = rewriteRequest(t, chap, []byte("ours"))
	if err != nil {
		t.Fatal(err)
	}
	l := list(out)
	if len(l) != 4 || !bytes.Equal(l[2], attr(AttrCHAPChallenge, string(chap[4:20]))) || !bytes.Equal(l[3], attr(AttrProxyState, "ours")) {
		t.Errorf("chap became %q", l)
	}
	with := packet(AccessRequest, 1, attr(AttrCHAPPassword, strings.Repeat("c", 17)), attr(AttrCHAPChallenge, "challenge"))
	out, err = rewriteRequest(t, with, nil)
	if ix := mustWalk(t, out); err != nil || string(ix.FirstValue(out, AttrCHAPChallenge)) != "challenge" || len(list(out)) != 3 {
		t.Errorf("a challenge of its own is replaced: %q", list(out))
	}
}

func TestR04TooLongIsNeverCut(t *testing.T) {
	fill := func(n int) []byte {
		var b []byte
		for n > 0 {
			l := min(n, 255)
			if n-l == 1 {
				l--
			}
			b = append(b, attr(AttrClass, strings.Repeat("x", l-2))...)
			n -= l
		}
		return b
	}
	state := []byte("12345678")
	for _, tt := range []struct {
		size    int
		state   bool
		refused bool
	}{
		{MaxLen - messageAuthLen - 10, true, false},
		{MaxLen - messageAuthLen - 9, false, false},
		{MaxLen - messageAuthLen, false, false},
		{MaxLen - messageAuthLen + 1, false, true},
		{MaxLen, false, true},
	} {
		out, err := rewriteRequest(t, packet(AccessRequest, 1, fill(tt.size-HeaderLen)), state)
		if errors.Is(err, ErrTooLong) != tt.refused {
			t.Errorf("%d bytes: %v", tt.size, err)
			continue
		}
		if err == nil {
			if ix := mustWalk(t, out); ix.Has(AttrProxyState) != tt.state || len(list(out)) < len(list(packet(1, 1, fill(tt.size-HeaderLen)))) {
				t.Errorf("%d bytes: proxy-state %v, %d attributes", tt.size, ix.Has(AttrProxyState), len(list(out)))
			}
		}
	}
	req := packet(AccessRequest, 1)
	ix := mustWalk(t, req)
	reply := packet(AccessAccept, 1, fill(MaxLen-HeaderLen))
	rix := mustWalk(t, reply)
	rr := ReplyRewrite{Request: req, Index: &ix, From: testBackend, To: testNAS}
	if _, err := RewriteReply(make([]byte, MaxLen), reply, &rix, &rr); !errors.Is(err, ErrTooLong) {
		t.Errorf("reply of 4096 bytes: %v", err)
	}
	if _, err := RewriteReply(make([]byte, 30), packet(AccessAccept, 1, attr(1, "x")), &rix, &rr); !errors.Is(err, ErrTooLong) {
		t.Errorf("small buffer: %v", err)
	}
}

func TestR24ProxyStates(t *testing.T) {
	theirs := [][]byte{attr(AttrProxyState, "one"), attr(AttrProxyState, "two")}
	req := packet(AccessRequest, 5, theirs[0], attr(AttrUserName, "x"), theirs[1])
	out, err := rewriteRequest(t, req, []byte("ours"))
	if err != nil {
		t.Fatal(err)
	}
	l := list(out)
	if len(l) != 5 || !bytes.Equal(l[4], attr(AttrProxyState, "ours")) || !bytes.Equal(l[1], theirs[0]) || !bytes.Equal(l[3], theirs[1]) {
		t.Fatalf("sent %q", l)
	}
	ix := mustWalk(t, req)
	states := func(reply []byte, ours string) string {
		rix := mustWalk(t, reply)
		dst := make([]byte, MaxLen)
		rr := ReplyRewrite{Request: req, Index: &ix, From: testBackend, To: testNAS}
		if ours != "" {
			rr.ProxyState = []byte(ours)
		}
		n, err := RewriteReply(dst, reply, &rix, &rr)
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for _, a := range list(dst[:n]) {
			if a[0] == AttrProxyState {
				s = append(s, string(a[2:]))
			}
		}
		return strings.Join(s, " ")
	}
	ours := attr(AttrProxyState, "ours")
	for _, tt := range []struct {
		name  string
		reply []byte
		ours  string
		want  string
	}{
		{"all in order", packet(AccessAccept, 5, theirs[0], theirs[1], ours), "ours", "one two"},
		{"ours not last", packet(AccessAccept, 5, theirs[0], ours, theirs[1]), "ours", "one two"},
		{"only ours: the nas gets its own back", packet(AccessAccept, 5, ours), "ours", "one two"},
		{"none", packet(AccessAccept, 5), "ours", "one two"},
		{"only one of ours is taken off", packet(AccessAccept, 5, ours, theirs[0], theirs[1], ours), "ours", "ours one two"},
		{"none sent, none taken off", packet(AccessAccept, 5, theirs[0], theirs[1], ours), "", "one two ours"},
	} {
		if got := states(tt.reply, tt.ours); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	dst := make([]byte, MaxLen)
	n, err := Reply(dst, AccessAccept, attr(AttrReplyMessage, "hi"), req, &ix, testNAS)
	if err != nil {
		t.Fatal(err)
	}
	if l := list(dst[:n]); len(l) != 4 || !bytes.Equal(l[2], theirs[0]) || !bytes.Equal(l[3], theirs[1]) {
		t.Errorf("an answer of our own: %q", l)
	}
	if !radius.IsAuthenticResponse(dst[:n], req, []byte("nas-secret")) {
		t.Error("the oracle refuses an answer of our own")
	}
}

func TestR50StripStates(t *testing.T) {
	req := packet(CoARequest, 5, attr(AttrProxyState, "one"), attr(AttrUserName, "x"), attr(AttrProxyState, "two"))
	ix := mustWalk(t, req)
	dst := make([]byte, MaxLen)
	n, err := RewriteRequest(dst, req, &ix, &RequestRewrite{Identifier: 1, From: testBackend, To: testNAS, StripStates: true})
	if err != nil || len(list(dst[:n])) != 1 || !testNAS.VerifyRequest(dst[:n]) {
		t.Errorf("%q, %v", list(dst[:n]), err)
	}
}

func TestR36UserNameReplaced(t *testing.T) {
	req := packet(AccessRequest, 5, attr(32, "nas"), attr(AttrUserName, "alice@example.net"), attr(AttrMessageAuthenticator, strings.Repeat("m", 16)), attr(25, "z"))
	ix := mustWalk(t, req)
	dst := make([]byte, MaxLen)
	n, err := RewriteRequest(dst, req, &ix, &RequestRewrite{Identifier: 1, From: testNAS, To: testBackend, UserName: []byte("alice")})
	if err != nil {
		t.Fatal(err)
	}
	l := list(dst[:n])
	if len(l) != 4 || !bytes.Equal(l[1], attr(32, "nas")) || !bytes.Equal(l[2], attr(AttrUserName, "alice")) || !bytes.Equal(l[3], attr(25, "z")) {
		t.Errorf("%q", l)
	}
}

func TestR21RewriteIsDeterministic(t *testing.T) {
	req := packet(AccessRequest, 5, attr(AttrUserPassword, strings.Repeat("p", 32)), vsa(311, attr(16, strings.Repeat("k", 34))))
	a, err1 := rewriteRequest(t, req, []byte("s"))
	b, err2 := rewriteRequest(t, req, []byte("s"))
	if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
		t.Error("a retransmission would not be byte-identical")
	}
}
