package radwire

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"fmt"
	"testing"

	"layeh.com/radius"
)

func TestR10RequestAuthenticator(t *testing.T) {
	for _, code := range []Code{AccountingRequest, CoARequest, DisconnectRequest} {
		s, other := NewSecret([]byte("s3cr3t")), NewSecret([]byte("s3cr3u"))
		p := packet(code, 9, attr(AttrAcctSessionID, "abc"))
		if s.VerifyRequest(p) {
			t.Errorf("%v: an unsigned request verifies", code)
		}
		s.SignRequest(p)
		if !radius.IsAuthenticRequest(p, []byte("s3cr3t")) {
			t.Errorf("%v: the oracle refuses our signature", code)
		}
		if !s.VerifyRequest(p) || other.VerifyRequest(p) {
			t.Errorf("%v: right secret %v, wrong secret %v", code, s.VerifyRequest(p), other.VerifyRequest(p))
		}
		for i := range p {
			q := bytes.Clone(p)
			q[i] ^= 1
			if i != 2 && i != 3 && s.VerifyRequest(q) { // Length is checked by Walk
				t.Errorf("%v: byte %d changed, still verifies", code, i)
			}
		}
	}
}

func TestR10ResponseAuthenticator(t *testing.T) {
	s := NewSecret([]byte("s3cr3t"))
	req := packet(AccessRequest, 9, attr(AttrUserName, "alice"))
	auth := PacketAuthenticator(req)
	reply := packet(AccessAccept, 9, attr(AttrClass, "gold"))
	s.SignResponse(reply, &auth)
	if !radius.IsAuthenticResponse(reply, req, []byte("s3cr3t")) {
		t.Error("the oracle refuses our signature")
	}
	if !s.VerifyResponse(reply, &auth) {
		t.Error("our own signature is refused")
	}
	auth[3]++
	if s.VerifyResponse(reply, &auth) {
		t.Error("another request's authenticator verifies")
	}
}

func TestR12MessageAuthenticator(t *testing.T) {
	key := []byte("a secret that is longer than the 64 bytes of a block of MD5, so that it is hashed first")
	for _, key := range [][]byte{key, []byte("short"), {}} {
		s := NewSecret(key)
		for _, code := range []Code{AccessRequest, AccountingRequest, StatusServer, CoARequest} {
			p := packet(code, 5, attr(AttrUserName, "alice"), attr(AttrMessageAuthenticator, "0000000000000000"), attr(AttrClass, "x"))
			ix := mustWalk(t, p)
			off, auth := ix.First[AttrMessageAuthenticator], MessageAuthOf(p)
			// The oracle: RFC 3579 section 3.2 in its plainest form.
			q := bytes.Clone(p)
			copy(q[4:], auth[:])
			clear(q[off+2 : off+18])
			m := hmac.New(md5.New, key)
			m.Write(q)
			want := m.Sum(nil)
			s.SignMessageAuthenticator(p, off, &auth)
			if !bytes.Equal(p[off+2:off+18], want) {
				t.Errorf("%v: %x, want %x", code, p[off+2:off+18], want)
			}
			if !s.VerifyMessageAuthenticator(p, off, &auth) {
				t.Errorf("%v: does not verify", code)
			}
			p[HeaderLen+3] ^= 1
			if s.VerifyMessageAuthenticator(p, off, &auth) {
				t.Errorf("%v: a changed name verifies", code)
			}
		}
	}
}

// TestR12ZerosInRepliesThatNeedNone: FreeRADIUS computes the Message-Authenticator of an Accounting-Response and of answers
// to CoA and Disconnect over zeros; that of an Access-* is over the request's authenticator, and nothing else.
func TestR12ZerosInRepliesThatNeedNone(t *testing.T) {
	s, other := NewSecret([]byte("key")), NewSecret([]byte("other"))
	for _, code := range []Code{AccessAccept, AccessReject, AccessChallenge, AccountingResponse, CoAACK, CoANAK, DisconnectACK, DisconnectNAK} {
		p := packet(code, 5, attr(AttrMessageAuthenticator, "0000000000000000"))
		for _, tt := range []struct {
			by   *Secret
			over Authenticator
			want bool
		}{{s, authB, true}, {s, Authenticator{}, !code.access()}, {s, Authenticator{1}, false}, {other, authB, false}, {other, Authenticator{}, false}} {
			tt.by.SignMessageAuthenticator(p, HeaderLen, &tt.over)
			if got := s.VerifyReplyMessageAuthenticator(p, HeaderLen, &authB); got != tt.want {
				t.Errorf("%v over %x: %v", code, tt.over, got)
			}
		}
	}
}

func TestR15SecretsDoNotPrint(t *testing.T) {
	s, probe := NewSecret([]byte("hunter2")), NewProbeSecret()
	for _, f := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if out := fmt.Sprintf(f, s); bytes.Contains([]byte(out), []byte("hunter2")) || bytes.Contains([]byte(out), []byte("68756e74")) {
			t.Errorf("%s prints %q", f, out)
		}
	}
	if out := fmt.Sprintf("%v %+v %#v", probe, probe, probe); out != "(secret) (secret) (secret)" {
		t.Errorf("probe secret prints %q", out)
	}
}

func TestSecretEqualAndClone(t *testing.T) {
	s := NewSecret([]byte("a"))
	if !s.Equal(s.Clone()) || s.Equal(NewSecret([]byte("b"))) || s.Equal(NewSecret([]byte("aa"))) {
		t.Error("Equal is wrong")
	}
}

func TestCodeAnswers(t *testing.T) {
	fits := map[Code][]Code{
		AccessRequest: {AccessAccept, AccessReject, AccessChallenge}, AccountingRequest: {AccountingResponse},
		StatusServer: {AccessAccept, AccountingResponse}, CoARequest: {CoAACK, CoANAK}, DisconnectRequest: {DisconnectACK, DisconnectNAK},
	}
	for req := range 256 {
		for rep := range 256 {
			want := false
			for _, c := range fits[Code(req)] {
				want = want || c == Code(rep)
			}
			if got := Code(req).Answers(Code(rep)); got != want {
				t.Errorf("%d answered by %d: %v", req, rep, got)
			}
		}
	}
}

func TestProbeSecret(t *testing.T) {
	s, stranger := NewProbeSecret(), NewProbeSecret()
	q := s.Question(7)
	ix := mustWalk(t, q)
	if !IsProbe(q, &ix, s.Secret()) || IsProbe(q, &ix, stranger.Secret()) {
		t.Fatal("a question is not told from a stranger's")
	}
	buf := make([]byte, MaxLen)
	n, err := Reply(buf, AccessAccept, nil, q, &ix, s.Secret())
	if err != nil || !s.Verify(q, buf[:n]) {
		t.Fatalf("our own answer is refused: %v", err)
	}
	if stranger.Verify(q, buf[:n]) || s.Verify(s.Question(7), buf[:n]) || s.Verify(q, buf[:n-1]) || s.Verify(nil, buf[:n]) {
		t.Error("an answer to another question, or of another process, is accepted")
	}
	if n, err = Reply(buf, AccessAccept, nil, q, &ix, stranger.Secret()); err != nil || s.Verify(q, buf[:n]) {
		t.Error("a stranger's answer is accepted")
	}
	plain := packet(StatusServer, 1)
	ix = mustWalk(t, plain)
	if IsProbe(plain, &ix, s.Secret()) {
		t.Error("a question without proof is a probe")
	}
}
