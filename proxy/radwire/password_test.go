package radwire

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"layeh.com/radius"
	"layeh.com/radius/rfc2868"
	"layeh.com/radius/vendors/microsoft"
)

var (
	authA = Authenticator{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	authB = Authenticator{0xff, 2, 0, 4, 5, 6, 7, 8, 9, 10, 0x7f, 12, 13, 14, 15, 0x80}
)

func TestR14UserPasswordAgainstOracle(t *testing.T) {
	a, b := NewSecret([]byte("nas-secret")), NewSecret([]byte("backend"))
	for _, n := range []int{0, 1, 15, 16, 17, 32, 100, 127, 128} {
		plain := bytes.Repeat([]byte("p"), n)
		hidden, err := radius.NewUserPassword(plain, []byte("nas-secret"), authA[:])
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			if got := a.EncryptPassword(nil, plain, &authA); !bytes.Equal(got, hidden) {
				t.Errorf("%d bytes: encrypted %x, want %x", n, got, hidden)
			}
		}
		recryptPassword(hidden, a, &authA, b, &authB)
		got, err := radius.UserPassword(hidden, []byte("backend"), authB[:])
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: %q, %v", n, got, err)
		}
		if got := b.DecryptPassword(nil, hidden, &authB); !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: decrypted %q", n, got)
		}
	}
	if got := a.EncryptPassword(nil, make([]byte, 200), &authA); len(got) != maxPasswordLen {
		t.Errorf("a password of 200 bytes takes %d", len(got))
	}
}

func TestR14RecryptIsReversibleForAnyBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	a, b := NewSecret([]byte("one")), NewSecret([]byte("two"))
	for range 2000 {
		v := make([]byte, r.IntN(254))
		for i := range v {
			v[i] = byte(r.Uint32())
		}
		was := bytes.Clone(v)
		recryptPassword(v, a, &authA, b, &authB)
		recryptPassword(v, b, &authB, a, &authA)
		if !bytes.Equal(v, was) {
			t.Fatalf("%d bytes do not come back", len(v))
		}
		recryptPassword(v, a, &authA, a, &authA)
		if !bytes.Equal(v, was) {
			t.Fatal("one secret, one authenticator: the value changed")
		}
	}
}

func TestR14SaltedAgainstOracle(t *testing.T) {
	a, b := NewSecret([]byte("backend")), NewSecret([]byte("nas-secret"))
	for _, n := range []int{1, 15, 16, 31, 32, 200} {
		plain := bytes.Repeat([]byte("k"), n)
		hidden, err := radius.NewTunnelPassword(plain, []byte{0x80, 0x17}, []byte("backend"), authA[:])
		if err != nil {
			t.Fatal(err)
		}
		if !RecryptSalted(hidden, a, &authA, b, &authB) {
			t.Fatalf("%d bytes: refused", n)
		}
		got, salt, err := radius.TunnelPassword(hidden, []byte("nas-secret"), authB[:])
		if err != nil || !bytes.Equal(got, plain) || !bytes.Equal(salt, []byte{0x80, 0x17}) {
			t.Errorf("%d bytes: %q salt %x, %v", n, got, salt, err)
		}
	}
	// A salt without its top bit is read as it is and sent as the RFC wants it.
	v := append([]byte{0x01, 0x02}, make([]byte, 32)...)
	was := bytes.Clone(v)
	RecryptSalted(v, a, &authA, b, &authB)
	if v[0] != 0x81 || v[1] != 0x02 {
		t.Errorf("salt %x", v[:2])
	}
	RecryptSalted(v, b, &authB, a, &authA)
	back := bytes.Clone(v)
	RecryptSalted(was, a, &authA, a, &authA) // only sets the bit
	if !bytes.Equal(back, was) {
		t.Error("a salt without its top bit loses the value")
	}
	for _, n := range []int{0, 1, 2, 17, 19, 33} {
		v := bytes.Repeat([]byte{7}, n)
		if RecryptSalted(v, a, &authA, b, &authB) || !bytes.Equal(v, bytes.Repeat([]byte{7}, n)) {
			t.Errorf("%d bytes cannot be salted, and were changed", n)
		}
	}
}

// rewriteReply runs one reply through a rewrite from backend to NAS.
func rewriteReply(tb testing.TB, req, reply []byte) []byte {
	tb.Helper()
	ix, rix := mustWalk(tb, req), mustWalk(tb, reply)
	dst := make([]byte, MaxLen)
	n, err := RewriteReply(dst, reply, &rix, &ReplyRewrite{
		Identifier: req[1], Request: req, Index: &ix, Sent: authB,
		From: NewSecret([]byte("backend")), To: NewSecret([]byte("nas-secret")),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return dst[:n]
}

func TestR14TunnelPasswordEveryTagAndMPPE(t *testing.T) {
	sent := &radius.Packet{Code: radius.CodeAccessRequest, Authenticator: authB, Secret: []byte("backend")}
	reply := sent.Response(radius.CodeAccessAccept)
	for tag := byte(0); tag < 4; tag++ {
		hidden, err := radius.NewTunnelPassword([]byte(strings.Repeat("t", 10+int(tag))), []byte{0x80, tag}, []byte("backend"), authB[:])
		if err != nil {
			t.Fatal(err)
		}
		reply.Add(AttrTunnelPassword, append(radius.Attribute{tag}, hidden...))
	}
	if err := microsoft.MSMPPESendKey_Set(reply, []byte("send-key-of-16-b")); err != nil {
		t.Fatal(err)
	}
	if err := microsoft.MSMPPERecvKey_Set(reply, []byte("recv-key-of-32-bytes-for-mschap2")); err != nil {
		t.Fatal(err)
	}
	wire, err := reply.Encode()
	if err != nil {
		t.Fatal(err)
	}
	req := packet(AccessRequest, 44, attr(AttrUserName, "x"))
	out := rewriteReply(t, req, wire)
	if !radius.IsAuthenticResponse(out, req, []byte("nas-secret")) {
		t.Fatal("the oracle refuses the reply")
	}
	got, err := radius.Parse(out, []byte("nas-secret"))
	if err != nil {
		t.Fatal(err)
	}
	// The oracle reads hidden attributes with the request's authenticator.
	nas, err := radius.Parse(req, []byte("nas-secret"))
	if err != nil {
		t.Fatal(err)
	}
	send, err1 := microsoft.MSMPPESendKey_Lookup(got, nas)
	recv, err2 := microsoft.MSMPPERecvKey_Lookup(got, nas)
	if err1 != nil || err2 != nil || string(send) != "send-key-of-16-b" || string(recv) != "recv-key-of-32-bytes-for-mschap2" {
		t.Errorf("mppe keys %q %v, %q %v", send, err1, recv, err2)
	}
	tags, passwords, err := rfc2868.TunnelPassword_Gets(got, nas)
	if err != nil || len(passwords) != 4 {
		t.Fatalf("%d tunnel-passwords, %v", len(passwords), err)
	}
	for i, p := range passwords {
		if tags[i] != byte(i) || string(p) != strings.Repeat("t", 10+i) {
			t.Errorf("tag %d: %q", tags[i], p)
		}
	}
}

func TestR14VendorTable(t *testing.T) {
	salted, err := radius.NewTunnelPassword([]byte("hidden value"), []byte{0x91, 7}, []byte("backend"), authB[:])
	if err != nil {
		t.Fatal(err)
	}
	hidden := string(salted)
	opened := func(v []byte) string {
		p, _, err := radius.TunnelPassword(v, []byte("nas-secret"), packet(1, 1)[4:20])
		if err != nil {
			return err.Error()
		}
		return string(p)
	}
	beside := attr(200, "clear")
	for name, tt := range map[string]struct {
		vsa []byte
		at  int // where the salted value starts in the attribute
	}{
		"ERX-LI-Action":     {vsa(4874, beside, attr(58, hidden)), 6 + 7 + 2},
		"Med-Port-Number":   {vsa(4874, attr(61, hidden), beside), 6 + 2},
		"Alc-LI-Action":     {vsa(6527, attr(122, hidden)), 8},
		"Alc-LI-Session-Id": {vsa(6527, attr(139, hidden)), 8},
		"Alc-APN-Password":  {vsa(6527, attr(142, hidden)), 8},
		"RtBrick-LI-Port":   {vsa(50058, attr(145, hidden)), 8},
		"Lancom (tagged)":   {vsa(2356, attr(19, "\x01"+hidden)), 9},
		"ALU-AAA-Key-3":     {vsa(831, attr(119, hidden)), 8},
		"Aruba-MPSK":        {vsa(14823, attr(44, hidden)), 8},
		"WiMAX-MSK":         {vsa(24757, attr(5, "\x00"+hidden)), 9},
		"WiMAX DHCP-RK":     {vsa(24757, attr(86, "\x00"+string(attr(1, "abcd"))+string(attr(3, hidden)))), 9 + 6 + 2},
		"Ubiquiti":          {vsa(41112, attr(5, string(attr(2, hidden)))), 10},
		"Tunnel-Password":   {attr(69, "\x05"+hidden), 3},
		"without its tag":   {attr(69, hidden), 2},
	} {
		reply := packet(AccessAccept, 1, attr(AttrClass, "before"), tt.vsa, attr(AttrClass, "after"))
		out := rewriteReply(t, packet(AccessRequest, 1), reply)
		l := list(out)
		if len(l) != 4 || !bytes.Equal(l[1], attr(AttrClass, "before")) || !bytes.Equal(l[3], attr(AttrClass, "after")) {
			t.Errorf("%s: neighbours changed: %q", name, l)
			continue
		}
		if got := opened(l[2][tt.at : tt.at+len(hidden)]); got != "hidden value" {
			t.Errorf("%s: %q", name, got)
		}
		copy(l[2][tt.at:], hidden)
		if !bytes.Equal(l[2], tt.vsa) {
			t.Errorf("%s: bytes beside the value changed: %x", name, l[2])
		}
	}
	// Not of these forms: data, byte for byte.
	for name, v := range map[string][]byte{
		"unknown vendor":         vsa(9, attr(58, hidden)),
		"unhidden type":          vsa(4874, attr(1, hidden)),
		"no whole blocks":        vsa(4874, attr(58, hidden+"x")),
		"inner length lies":      vsa(4874, []byte{58, 99, 1, 2, 3}),
		"inner length 0":         vsa(4874, []byte{58, 0, 1, 2, 3}),
		"wimax fragment":         vsa(24757, attr(5, "\x80"+hidden)),
		"short vsa":              attr(26, "\x00\x00"),
		"vendor only":            attr(26, "\x00\x00\x13\x0a"),
		"tunnel-password, empty": attr(69, ""),
		"extended":               attr(241, string(attr(58, hidden))),
	} {
		out := rewriteReply(t, packet(AccessRequest, 1), packet(AccessAccept, 1, v))
		if l := list(out); len(l) != 2 || !bytes.Equal(l[1], v) {
			t.Errorf("%s: changed to %x", name, l)
		}
	}
}

func TestR14AscendAndMSCHAPKeys(t *testing.T) {
	back, nas := NewSecret([]byte("backend")), NewSecret([]byte("nas-secret"))
	nasAuth := Authenticator(packet(1, 1)[4:20])
	keys := back.EncryptPassword(nil, []byte("LM-key--NT-key-of-16-byt"), &authB)
	ascend := []byte("ascend-secret")
	plain := bytes.Clone(ascend)
	xor(ascend, back.ascendKey(&authB))
	reply := packet(AccessAccept, 1, vsa(311, attr(12, string(keys))), vsa(529, attr(214, string(ascend))),
		vsa(4846, append([]byte{0, 214, byte(3 + len(ascend))}, ascend...)))
	l := list(rewriteReply(t, packet(AccessRequest, 1), reply))
	if got := nas.DecryptPassword(nil, l[1][8:], &nasAuth); string(got) != "LM-key--NT-key-of-16-byt" {
		t.Errorf("MS-CHAP-MPPE-Keys: %q", got)
	}
	for i, at := range map[int]int{2: 8, 3: 9} {
		v := bytes.Clone(l[i][at:])
		xor(v, nas.ascendKey(&nasAuth))
		if !bytes.Equal(v, plain) {
			t.Errorf("ascend secret in attribute %d: %q", i, v)
		}
	}
}
