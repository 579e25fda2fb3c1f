package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/radpkt"
	"sereno/bench/load"
)

// Attribute types that package radpkt has no name for.
const (
	vendorSpecific = 26
	eapMessage     = 79
	connectInfo    = 77
	extended1      = 241
)

// oddPool is a pool of the hand-made server, for the users of the realm odd.example, with a client that may have few
// requests in flight.
func oddPool(lab *harness.Lab, s *oddServer) front {
	return front{
		pools: fmt.Sprintf(`  - name: odd
    protocol: radius
    health: {interval: %s, timeout: %s, slow_start: 1s}
    attempts: 1
    backends: [{name: odd, address: %s, secret: %s, max_in_flight: 100}]
`, probeInterval, probeTimeout, s.addr, harness.BackendSecret),
		service: "    routes: [{realm: odd.example, pool: odd}]\n",
		clients: fmt.Sprintf("[{name: nas, address: 127.0.0.0/8, secret: %s}, {name: few, address: %s, secret: %s, max_in_flight: 20}]",
			harness.NASSecret, lab.Addr(hostSource+9), harness.NASSecret),
	}
}

// wellBehaved is the load that must notice nothing of what a test does.
func wellBehaved(t *testing.T, s *harness.Sereno) *running {
	t.Helper()
	_, work := radiusLoad(t, s, load.RADIUSConfig{Common: load.Common{Rate: 300, Timeout: 3 * time.Second}, PAP: 1, CHAP: 1, Acct: 1})
	return work
}

// signed finishes a packet under the NAS's secret.
func signed(p []byte, auth byte) []byte {
	radpkt.NewKeyer([]byte(harness.NASSecret)).SignRequest(p, [16]byte{auth, 1, 2, 3})
	return p
}

// bare is an Access-Request with a Message-Authenticator and the attributes that are given, not finished.
func bare(id byte, attributes ...[]byte) []byte {
	p := radpkt.Attr(radpkt.Start(nil, radpkt.AccessRequest, id), radpkt.MessageAuthenticator, make([]byte, 16))
	p = radpkt.AttrString(p, radpkt.UserName, "ok@odd.example")
	return append(p, bytes.Join(attributes, nil)...)
}

// attr is one attribute.
func attr(kind byte, value []byte) []byte { return radpkt.Attr(nil, kind, value) }

// filler is that many octets of attributes.
func filler(n int) []byte {
	var b []byte
	for n > 0 {
		take := min(n, 255)
		if n-take == 1 {
			take-- // an attribute has at least two octets
		}
		b = append(b, attr(connectInfo, bytes.Repeat([]byte{'f'}, take-2))...)
		n -= take
	}
	return b
}

// lie gives a finished packet another Length.
func lie(p []byte, length int) []byte {
	binary.BigEndian.PutUint16(p[2:], uint16(length))
	return p
}

// badRequests are packets that are dropped, and why.
func badRequests() map[string]struct {
	reason string
	acct   bool
	packet []byte
} {
	type bad = struct {
		reason string
		acct   bool
		packet []byte
	}
	unsigned := radpkt.AttrString(radpkt.Start(nil, radpkt.AccessRequest, 1), radpkt.UserName, "ok@odd.example")
	other := bare(1)
	radpkt.NewKeyer([]byte("not-the-secret")).SignRequest(other, [16]byte{9})
	record := radpkt.AttrUint32(radpkt.Start(nil, radpkt.AccountingRequest, 1), radpkt.AcctStatusType, 1)
	return map[string]bad{
		"a datagram of 19 octets":                {"malformed", false, make([]byte, 19)},
		"Length 19":                              {"malformed", false, lie(signed(bare(1), 1), 19)},
		"Length above the datagram":              {"malformed", false, lie(signed(bare(1), 1), 2000)},
		"Length 4097":                            {"malformed", false, lie(append(signed(bare(1), 1), make([]byte, 4200)...), 4097)},
		"an attribute of length 0":               {"malformed", false, signed(bare(1, []byte{connectInfo, 0}), 1)},
		"an attribute of length 1":               {"malformed", false, signed(bare(1, []byte{connectInfo, 1}), 1)},
		"an attribute past the end":              {"malformed", false, signed(bare(1, []byte{connectInfo, 9, 'x'}), 1)},
		"an attribute without a length":          {"malformed", false, signed(bare(1, []byte{connectInfo}), 1)},
		"two Message-Authenticators":             {"message-authenticators", false, signed(bare(1, attr(radpkt.MessageAuthenticator, make([]byte, 16))), 1)},
		"a Message-Authenticator of 4 octets":    {"message-authenticators", false, signed(append(radpkt.Start(nil, radpkt.AccessRequest, 1), attr(radpkt.MessageAuthenticator, make([]byte, 4))...), 1)},
		"a wrong secret":                         {"message-authenticator", false, other},
		"EAP without Message-Authenticator":      {"unsigned", false, signed(append(bytes.Clone(unsigned), attr(eapMessage, []byte{2, 1, 0, 5, 1})...), 1)},
		"4096 octets that have to grow":          {"too-long", false, signed(append(bytes.Clone(unsigned), filler(4096-len(unsigned))...), 1)},
		"an Accounting-Request of a wrong key":   {"authenticator", true, lie(bytes.Clone(record), len(record))},
		"an Accounting-Request to the auth port": {"code", false, signed(bytes.Clone(record), 1)},
		"an Access-Request to the acct port":     {"code", true, signed(bare(1), 1)},
		"an Access-Accept":                       {"code", false, signed(radpkt.Start(nil, radpkt.AccessAccept, 1), 1)},
		"a code that nobody knows":               {"code", false, signed(radpkt.Start(nil, 77, 1), 1)},
	}
}

// TestE2EAttackRADIUSBadRequestsAreCountedDrops sends each class of bad request, and looks for one drop under its reason and
// silence, while well-behaved NASes notice nothing (R01, R02, R04, R05, R06, R10, R12).
func TestE2EAttackRADIUSBadRequestsAreCountedDrops(t *testing.T) {
	lab := harness.New(t)
	odd := newOddServer(t, lab.Addr(hostStub), rightly)
	f := oddPool(lab, odd)
	f.servers = addrs(full(lab, 1, ""))
	s := f.start(lab)
	work := wellBehaved(t, s)
	source := 0
	for name, c := range badRequests() {
		to := s.Auth
		if c.acct {
			to = s.Acct
		}
		// Each from an address of its own: what was learnt of one says nothing about another.
		conn := from(t, lab.Addr(byte(hostSource+10+source)), 0, to)
		source++
		before := dropped(s, c.reason)
		send(t, conn, c.packet)
		if reply := receive(t, conn, 50*time.Millisecond); reply != nil {
			t.Errorf("%s got %x", name, reply)
		}
		if n := dropped(s, c.reason) - before; n != 1 {
			t.Errorf("%s: %g more drops for %s", name, n, c.reason)
		}
	}
	if n := len(odd.requests()); n != 0 {
		t.Errorf("%d bad requests were forwarded", n)
	}
	work.nothingLost("bad requests")
	s.WaitIdle()
}

// TestE2ERADIUSR03OddPacketsAreForwardedAsTheyAre sends odd packets that are right, and compares what the server got,
// attribute by attribute, with what was sent (R01, R03, R04, R06, R24).
func TestE2ERADIUSR03OddPacketsAreForwardedAsTheyAre(t *testing.T) {
	lab := harness.New(t)
	odd := newOddServer(t, lab.Addr(hostStub), rightly)
	f := oddPool(lab, odd)
	f.servers = addrs(full(lab, 1, ""))
	s := f.start(lab)
	work := wellBehaved(t, s)
	conn := from(t, lab.Addr(hostSource), 0, s.Auth)
	head := len(bare(0))
	for i, c := range []struct {
		name       string
		attributes []byte
		padding    int
		noState    bool
	}{
		{"nothing", nil, 0, false},
		{"padding", nil, 300, false},
		{"a VSA whose inner type is 80", attr(vendorSpecific, append([]byte{0, 0, 0, 9, 80, 18}, make([]byte, 16)...)), 0, false},
		{"a VSA without any form", attr(vendorSpecific, []byte{0, 0, 0x99, 0x99, 0, 0, 255, 1}), 0, false},
		{"a short VSA", attr(vendorSpecific, []byte{0, 0}), 0, false},
		{"extended attributes", append(attr(extended1, []byte{1, 'x'}), attr(245, append([]byte{1, 0x80}, bytes.Repeat([]byte{7}, 240)...))...), 0, false},
		{"unknown and empty attributes", append(attr(250, []byte("unknown")), attr(199, nil)...), 0, false},
		{"others' Proxy-States", append(attr(radpkt.ProxyState, []byte("one")), attr(radpkt.ProxyState, []byte("two"))...), 0, false},
		{"4096 octets", filler(4096 - head), 0, true},
		{"4090 octets", filler(4090 - head), 0, true},
	} {
		p := signed(bare(byte(i), c.attributes), byte(i))
		odd.requests()
		send(t, conn, append(bytes.Clone(p), make([]byte, c.padding)...))
		reply := receive(t, conn, 3*time.Second)
		if reply == nil || reply[0] != radpkt.AccessAccept || reply[1] != byte(i) {
			t.Errorf("%s: answer %x", c.name, reply)
			continue
		}
		if err := radpkt.NewKeyer([]byte(harness.NASSecret)).CheckReply(reply, [16]byte(p[4:20]), true); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if a, b := radpkt.Count(reply, radpkt.ProxyState), radpkt.Count(p, radpkt.ProxyState); a != b {
			t.Errorf("%s: %d Proxy-States came back of %d", c.name, a, b)
		}
		got := odd.requests()
		if len(got) != 1 {
			t.Errorf("%s: the server got %d requests", c.name, len(got))
			continue
		}
		want := p[38:] // after the Message-Authenticator
		have := got[0][38:]
		if !c.noState {
			if ours := radpkt.Count(got[0], radpkt.ProxyState) - radpkt.Count(p, radpkt.ProxyState); ours != 1 {
				t.Errorf("%s: %d Proxy-States of ours", c.name, ours)
			}
			have = have[:min(len(want), len(have))] // ours comes last
		}
		if !bytes.Equal(have, want) {
			t.Errorf("%s: sent\n%x\nthe server got\n%x", c.name, want, have)
		}
	}
	out := radclient(lab, s.Auth, "auth", harness.NASSecret, "User-Name=user-1@example.net,User-Password=pw-user-1,Message-Authenticator=0x00")
	if !strings.Contains(out, "Received Access-Accept") {
		t.Errorf("a realm that no route names goes to the pool:\n%s", out)
	}
	work.sent(lab, 200)
	work.nothingLost("odd packets")
	s.WaitIdle()
}

// TestE2EAttackRADIUSR20MadNASIsBounded has a NAS that repeats one packet a thousand times a second, answered and pending,
// one that has more in flight than it may, and more than its servers take.
func TestE2EAttackRADIUSR20MadNASIsBounded(t *testing.T) {
	lab := harness.New(t)
	odd := newOddServer(t, lab.Addr(hostStub), func(s *oddServer, request []byte) {
		if !bytes.HasPrefix(radpkt.Find(request, radpkt.UserName), []byte("silent")) {
			rightly(s, request)
		}
	})
	f := oddPool(lab, odd)
	f.servers = addrs(full(lab, 1, ""))
	s := f.start(lab)
	work := wellBehaved(t, s)

	conn := from(t, lab.Addr(hostSource), 0, s.Auth)
	answers, answer := 0, []byte(nil)
	// repeat sends a packet a thousand times, ten in 10 ms, and takes the answers meanwhile.
	repeat := func(p []byte) {
		for range 100 {
			for range 10 {
				send(t, conn, p)
			}
			for end := time.Now().Add(10 * time.Millisecond); time.Now().Before(end); {
				reply := receive(t, conn, time.Until(end))
				if reply == nil {
					continue
				}
				if answers++; answer != nil && !bytes.Equal(answer, reply) {
					t.Fatalf("two answers:\n%x\n%x", answer, reply)
				}
				answer = reply
			}
		}
	}
	repeat(signed(bare(1), 1))
	if n := len(odd.requests()); n != 1 || answers < 900 {
		t.Errorf("the server got the packet %d times, the NAS %d answers", n, answers)
	}

	silent := radpkt.AttrString(radpkt.Attr(radpkt.Start(nil, radpkt.AccessRequest, 2), radpkt.MessageAuthenticator, make([]byte, 16)), radpkt.UserName, "silent@odd.example")
	before := dropped(s, "duplicate")
	repeat(signed(silent, 2))
	got := odd.requests()
	if n := dropped(s, "duplicate") - before; n != 999 {
		t.Errorf("%g duplicates are counted", n)
	}
	if len(got) < 1 || len(got) > 3 {
		t.Errorf("the server got the pending packet %d times in a second", len(got))
	}
	for _, p := range got {
		if !bytes.Equal(p, got[0]) {
			t.Errorf("a retransmission to the same server is another packet (R21):\n%x\n%x", got[0], p)
		}
	}
	limited(t, lab, s, silent)
	work.nothingLost("mad NASes")
	s.WaitIdle()
	if n := s.Metrics().Sum("sereno_radius_answers_total", "code", "Access-Reject"); n != 0 {
		t.Errorf("%g Access-Rejects", n)
	}
}

// limited has requests wait for a silent server up to what their client may have in flight, and up to what the server
// takes.
func limited(t *testing.T, lab *harness.Lab, s *harness.Sereno, silent []byte) {
	t.Helper()
	for _, c := range []struct {
		source int
		reason string
		most   float64
	}{{9, "client-limit", 20}, {1, "no-backend", 100}} {
		conn := from(t, lab.Addr(byte(hostSource+c.source)), 0, s.Auth)
		before := dropped(s, c.reason)
		for id := range 200 {
			p := bytes.Clone(silent)
			p[1] = byte(id)
			send(t, conn, signed(p, byte(id)))
			if id%20 == 19 {
				time.Sleep(2 * time.Millisecond)
			}
		}
		lab.Eventually(2*time.Second, c.reason, func() bool { return dropped(s, c.reason)-before >= 200-c.most })
		if n := dropped(s, c.reason) - before; n > 200-c.most+22 { // others wait too; a tenth is kept for State
			t.Errorf("%s: %g of 200 were dropped", c.reason, n)
		}
	}
}

// TestE2EAttackRADIUSR22ExhaustedIdentifiersHurtNobodyElse has a NAS that never waits for an answer: each request takes the
// identifier of one before it, until every identifier towards its silent server rests. Other servers' are not touched.
func TestE2EAttackRADIUSR22ExhaustedIdentifiersHurtNobodyElse(t *testing.T) {
	lab := harness.New(t)
	odd := newOddServer(t, lab.Addr(hostStub), func(s *oddServer, _ []byte) { s.requests() })
	f := oddPool(lab, odd)
	f.servers = addrs(full(lab, 1, ""))
	s := f.start(lab)
	work := wellBehaved(t, s)
	conn := from(t, lab.Addr(hostSource), 0, s.Auth)
	p := bare(0)
	keyer := radpkt.NewKeyer([]byte(harness.NASSecret))
	var auth [16]byte
	const most = 65_536 // of one worker, which has all of one source port
	for i := range uint32(most + 2000) {
		binary.BigEndian.PutUint32(auth[:], i)
		p[1] = byte(i % 50) // fewer than the server's max_in_flight
		clear(p[22:38])
		keyer.SignRequest(p, auth)
		send(t, conn, p)
		if i%60 == 59 {
			time.Sleep(time.Millisecond)
		}
	}
	lab.Eventually(5*time.Second, "identifiers are used up", func() bool { return dropped(s, "no-identifier") > 0 })
	work.sent(lab, 200)
	work.nothingLost("identifiers used up")
	s.WaitIdle()
}
