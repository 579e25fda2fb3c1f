package radiusfront

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"layeh.com/radius"

	"sereno/proxy/radwire"
)

func TestR01R02MalformedRequestsAreDroppedAndCounted(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		backend := newServer(t, accept)
		f := newFront(t, setup{backends: []*server{backend}, plain: plain})
		nas := newNAS(t, f.authAddr())
		good := pap(t, 1, "alice", "x")
		for i, b := range [][]byte{
			{}, good[:1], good[:19], good[:len(good)-1],
			append([]byte{1, 1, 0, 19}, good[4:]...),
			append([]byte{1, 1, 0x10, 0x01}, make([]byte, 5000)...),
			append(append([]byte{1, 1, 0, 22}, good[4:20]...), 1, 1),
			append(append([]byte{1, 1, 0, 22}, good[4:20]...), 1, 0),
			append(append([]byte{1, 1, 0, 22}, good[4:20]...), 1, 3),
		} {
			nas.send(b)
			f.untilDropped(KindAuth, ReasonMalformed, uint64(i+1))
		}
		// Padding is cut off before anything is computed.
		padded := append(bytes.Clone(good), bytes.Repeat([]byte{0xff}, 4500)...)
		nas.send(padded)
		nas.verified(good, nas.receive(), nasSecret)
		acct := newNAS(t, f.acctAddr())
		req := acctRequest(1, "s")
		acct.send(append(bytes.Clone(req), 0, 0, 0))
		acct.verified(req, acct.receive(), nasSecret)
		if got := backend.wait(2); len(got[0].raw) > 200 {
			t.Errorf("the backend got %d bytes", len(got[0].raw))
		}
	})
}

func TestR01RandomDatagramsOnEveryPort(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}})
	r := rand.New(rand.NewPCG(7, 8))
	auth, acct := newNAS(t, f.authAddr()), newNAS(t, f.acctAddr())
	valid := pap(t, 1, "alice", "x")
	const n = 500
	for range n {
		b := make([]byte, r.IntN(300))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if r.IntN(2) == 0 { // nearly right
			b = bytes.Clone(valid)
			b[r.IntN(len(b))] ^= byte(1 + r.IntN(255))
			b = b[:r.IntN(len(b)+1)]
		}
		auth.send(b)
		acct.send(b)
	}
	f.until("all read", func(st *Stats) bool {
		return st.Requests[KindAuth]+st.Requests[KindAcct]+st.Requests[KindStatus] == 2*n
	})
	good := newNAS(t, f.authAddr())
	if got := good.exchange(pap(t, 7, "alice", "x")); got.Code != radius.CodeAccessAccept {
		t.Errorf("after the noise: %v", got.Code)
	}
}

func TestR03ForwardedByteForByte(t *testing.T) {
	attrs := []*radius.AVP{
		avp(200, ""), avp(241, "\x05extended"), avp(245, "\x01\x80fragment one"), avp(245, "\x01\x00fragment two"),
		avp(radwire.AttrVendorSpecific, "\x00\x00\x00\x09\x01\x0aavpair=x"), avp(radwire.AttrVendorSpecific, "\x00"), avp(radwire.AttrVendorSpecific, "\x00\x00\x13\x0a\xff\x00oddly shaped"),
		avp(radwire.AttrState, "state\x00bytes"), avp(radwire.AttrClass, "a"), avp(radwire.AttrClass, "b"), avp(radwire.AttrProxyState, "theirs"),
		avp(radwire.AttrEAPMessage, strings.Repeat("e", 253)), avp(radwire.AttrEAPMessage, "rest"), avp(97, "\x00\x40\xff\xff\xff\xff\xff\xff\xff\xff"),
	}
	reply := attrs[:10]
	backend := newServer(t, func(r received) []byte { return r.respond(radius.CodeAccessChallenge, backendSecret, reply...) })
	f := newFront(t, setup{backends: []*server{backend}})
	nas := newNAS(t, f.authAddr())
	req := signed(radwire.AccessRequest, 5, nasSecret, attrs...)
	answer := nas.exchange(req)
	sent, err := radius.Parse(backend.wait(1)[0].raw, []byte(backendSecret))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "request", sent.Attributes[1:len(sent.Attributes)-1], attrs) // without M-A and our Proxy-State
	compare(t, "reply", answer.Attributes[1:], append(append([]*radius.AVP{}, reply...), avp(radwire.AttrProxyState, "theirs")))
}

func compare(t *testing.T, what string, got radius.Attributes, want []*radius.AVP) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d attributes, want %d", what, len(got), len(want))
	}
	for i := range want {
		if got[i].Type != want[i].Type || !bytes.Equal(got[i].Attribute, want[i].Attribute) {
			t.Errorf("%s: attribute %d is %d %x, want %d %x", what, i, got[i].Type, got[i].Attribute, want[i].Type, want[i].Attribute)
		}
	}
}

func TestR04PacketsThatGrowPast4096(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}, radius: func(c *BackendConfig) { c.MessageAuthenticator = "accept" }})
	nas := newNAS(t, f.authAddr())
	fill := func(total int) []byte {
		var attrs []*radius.AVP
		left := total - radwire.HeaderLen
		for left > 0 {
			n := min(left, 255)
			if left-n == 1 {
				n--
			}
			attrs = append(attrs, avp(radwire.AttrClass, strings.Repeat("x", n-2)))
			left -= n
		}
		return plainRequest(radwire.AccessRequest, byte(total), nasSecret, attrs...)
	}
	nas.send(fill(4096))
	f.untilDropped(KindAuth, ReasonTooLong, 1)
	nas.exchange(fill(4096 - 18))
	if raw := backend.wait(1)[0].raw; len(raw) != 4096 {
		t.Errorf("sent %d bytes", len(raw))
	}
	nas.exchange(fill(4096 - 18 - 18))
	if raw := backend.wait(2)[1].raw; len(raw) != 4096 || raw[4096-18] != radwire.AttrProxyState {
		t.Errorf("sent %d bytes without our Proxy-State", len(raw))
	}
	// A reply that does not fit is not cut either; the request goes on waiting.
	var big []*radius.AVP
	for range 15 {
		big = append(big, avp(radwire.AttrClass, strings.Repeat("y", 253)))
	}
	big = append(big, avp(radwire.AttrClass, strings.Repeat("z", 4096-20-15*255-2)))
	backend.setAnswer(func(r received) []byte { return signedReply(r, backendSecret, 0, 0, big...) })
	nas.send(pap(t, 77, "x", "y"))
	if st := f.untilReply(ReplyTooLong, 1); st.InFlight[KindAuth] != 1 {
		t.Error("the request does not wait any more")
	}
}

func TestR05UnknownClientAndWrongCode(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}, config: func(c *Config) {
		c.Clients = []ClientConfig{testClient("exact", "127.0.0.1"), testClient("wide", "127.0.0.0/24"), testClient("narrow", "127.0.0.128/25")}
		c.Clients[1].Secret, c.Clients[2].Secret = []string{"wide"}, []string{"narrow"}
	}})
	stranger := newNASFrom(t, "127.0.1.1", f.authAddr())
	stranger.send(pap(t, 1, "alice", "x", avp(radwire.AttrNASIPAddress, "\x7f\x00\x00\x01"))) // its NAS-IP-Address is a client's
	f.untilDropped(KindAuth, ReasonUnknownClient, 1)
	stranger.send(statusRequest(1, nasSecret))
	f.untilDropped(KindStatus, ReasonUnknownClient, 1)

	nas := newNAS(t, f.authAddr())
	nas.send(acctRequest(1, "s"))
	f.untilDropped(KindAuth, ReasonCode, 1)
	for code := range 256 {
		if c := radwire.Code(code); c != radwire.AccessRequest && c != radwire.StatusServer {
			nas.send(plainRequest(c, 1, nasSecret))
		}
	}
	f.untilDropped(KindAuth, ReasonCode, 255)
	newNAS(t, f.acctAddr()).send(pap(t, 1, "a", "b"))
	f.untilDropped(KindAcct, ReasonCode, 1)

	// The longest prefix decides, and its secret alone fits.
	for from, secret := range map[string]string{"127.0.0.1": nasSecret, "127.0.0.7": "wide", "127.0.0.200": "narrow"} {
		n := newNASFrom(t, from, f.authAddr())
		req := signed(radwire.AccessRequest, 3, secret, avp(1, "alice"))
		n.send(req)
		n.verified(req, n.receive(), secret)
	}
	if backend.count() != 3 {
		t.Errorf("the backend got %d requests", backend.count())
	}
}

func TestR05ClientTable(t *testing.T) {
	states := map[netip.Prefix]*clientState{}
	var cfgs []ClientConfig
	for _, a := range []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "::/0", "2001:db8::/32", "2001:db8::1", "0.0.0.0/0"} {
		cfgs = append(cfgs, testClient(a, a))
		p, err := parseClientAddress(a)
		if err != nil {
			t.Fatal(err)
		}
		states[p] = &clientState{}
	}
	table, err := newClientTable(cfgs, states)
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"10.1.2.3": "10.1.2.3", "10.1.2.4": "10.1.0.0/16", "10.2.0.1": "10.0.0.0/8", "192.0.2.1": "0.0.0.0/0",
		"2001:db8::1": "2001:db8::1", "2001:db8::2": "2001:db8::/32", "fe80::1": "::/0",
	} {
		if c := table.lookup(netip.MustParseAddr(addr)); c == nil || c.name != want {
			t.Errorf("%s: %v, want %s", addr, c, want)
		}
	}
	small, err := newClientTable(cfgs[:3], states)
	if err != nil || small.lookup(netip.MustParseAddr("11.0.0.1")) != nil || small.lookup(netip.MustParseAddr("2001:db8::1")) != nil {
		t.Errorf("an address outside is a client: %v", err)
	}
}

func TestR06TwoMessageAuthenticators(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}, config: func(c *Config) { c.Clients[0].MessageAuthenticator = "accept" }})
	nas := newNAS(t, f.authAddr())
	ma := avp(radwire.AttrMessageAuthenticator, strings.Repeat("m", 16))
	nas.send(signed(radwire.AccessRequest, 1, nasSecret, ma))
	f.untilDropped(KindAuth, ReasonMessageAuthenticators, 1)
	nas.send(plainRequest(radwire.AccessRequest, 2, nasSecret, avp(radwire.AttrMessageAuthenticator, "short")))
	f.untilDropped(KindAuth, ReasonMessageAuthenticators, 2)
	// Type 80 inside a VSA is data, and leaves as it came.
	inner := "\x00\x00\x00\x09\x50\x12" + strings.Repeat("d", 16)
	nas.exchange(signed(radwire.AccessRequest, 3, nasSecret, avp(radwire.AttrVendorSpecific, inner)))
	nas.exchange(plainRequest(radwire.AccessRequest, 4, nasSecret, avp(radwire.AttrVendorSpecific, inner)))
	for _, r := range backend.wait(2) {
		if !bytes.Contains(r.raw, []byte(inner)) {
			t.Error("the VSA was changed")
		}
	}
}

func TestR14CHAPGetsItsChallenge(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}})
	nas := newNAS(t, f.authAddr())
	req := signed(radwire.AccessRequest, 9, nasSecret, avp(1, "alice"), avp(radwire.AttrCHAPPassword, strings.Repeat("c", 17)))
	nas.exchange(req)
	var ix radwire.Index
	p, err := radwire.Walk(backend.wait(1)[0].raw, &ix)
	if err != nil || !bytes.Equal(ix.FirstValue(p, radwire.AttrCHAPChallenge), req[4:20]) {
		t.Errorf("challenge %x, want %x", ix.FirstValue(p, radwire.AttrCHAPChallenge), req[4:20])
	}
}
