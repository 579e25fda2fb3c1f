package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2868"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/radpkt"
)

// concentrator is a NAS that accounts for sessions and obeys CoA and Disconnect (RFC 5176).
type concentrator struct {
	t    *testing.T
	addr netip.Addr
	conn *net.UDPConn

	mu    sync.Mutex
	got   [][]byte
	mute  int  // leaves so many more requests unanswered
	angry bool // answers with NAK
}

// newConcentrator opens a NAS's CoA port at an address.
func newConcentrator(t *testing.T, addr netip.Addr) *concentrator {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 3799)))
	if err != nil {
		t.Fatal(err)
	}
	c := &concentrator{t: t, addr: addr, conn: conn}
	var done sync.WaitGroup
	done.Go(c.serve)
	t.Cleanup(func() {
		_ = conn.Close()
		done.Wait()
	})
	return c
}

func (c *concentrator) serve() {
	var b [4096]byte
	for {
		n, from, err := c.conn.ReadFromUDPAddrPort(b[:])
		if err != nil {
			return // closed
		}
		raw := bytes.Clone(b[:n])
		if !radius.IsAuthenticRequest(raw, []byte(harness.NASSecret)) {
			c.t.Errorf("the NAS got what its secret did not sign: %x", raw)
			continue
		}
		c.mu.Lock()
		c.got = append(c.got, raw)
		silent := c.mute > 0
		if silent {
			c.mute--
		}
		code := radius.Code(raw[0] + 1) // ACK
		if c.angry {
			code++ // NAK
		}
		c.mu.Unlock()
		if silent {
			continue
		}
		request, err := radius.Parse(raw, []byte(harness.NASSecret))
		if err != nil {
			c.t.Errorf("the NAS got what does not parse: %v", err)
			continue
		}
		reply, err := request.Response(code).Encode()
		if err != nil {
			c.t.Error(err)
			continue
		}
		if _, err := c.conn.WriteToUDPAddrPort(reply, from); err != nil {
			c.t.Error(err)
		}
	}
}

// requests gives what the NAS has got since the last call.
func (c *concentrator) requests() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.got
	c.got = nil
	return got
}

func (c *concentrator) set(mute int, angry bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute, c.angry = mute, angry
}

// account sends an accounting record of a session and waits for the acknowledgement.
func (c *concentrator) account(to netip.AddrPort, id byte, status uint32, session, user string) {
	c.t.Helper()
	conn := from(c.t, c.addr, 0, to)
	p := radpkt.Start(nil, radpkt.AccountingRequest, id)
	p = radpkt.AttrString(p, radpkt.UserName, user)
	p = radpkt.AttrUint32(p, radpkt.AcctStatusType, status)
	p = radpkt.AttrString(p, radpkt.AcctSessionID, session)
	p = radpkt.AttrString(p, radpkt.NASIdentifier, "concentrator")
	keyer := radpkt.NewKeyer([]byte(harness.NASSecret))
	keyer.SignRequest(p, [16]byte{})
	send(c.t, conn, p)
	reply := receive(c.t, conn, 4*time.Second)
	if reply == nil {
		c.t.Fatal("no Accounting-Response")
	}
	if err := keyer.CheckReply(reply, [16]byte(p[4:20]), false); err != nil {
		c.t.Fatal(err)
	}
}

const (
	acctStart = 1
	acctStop  = 2
)

// coaReceiver is FreeRADIUS in the part of a NAS: it acknowledges CoA and Disconnect.
const coaReceiver = `prefix = /usr
raddbdir = DIR
logdir = DIR
run_dir = DIR
libdir = /usr/lib/freeradius
pidfile = DIR/radiusd.pid
log {
	destination = stdout
}
thread pool {
	start_servers = 1
	max_servers = 1
	min_spare_servers = 1
	max_spare_servers = 1
	max_requests_per_server = 0
}
client front {
	ipaddr = 127.0.0.0/8
	secret = %[2]s
}
modules {
	always ok {
		rcode = ok
	}
}
server default {
	listen {
		type = coa
		ipaddr = %[1]s
		port = 3799
	}
	recv-coa {
		ok
	}
	send-coa {
		ok
	}
}
`

// TestE2ERADIUSR50CoAAndDisconnectThroughTheFront has radclient, from a server's address, change and end sessions on
// NASes that only the front knows: one made here, and FreeRADIUS as a NAS.
func TestE2ERADIUSR50CoAAndDisconnectThroughTheFront(t *testing.T) {
	lab := harness.New(t)
	one, two := full(lab, 1, ""), full(lab, 2, "")
	nas := newConcentrator(t, lab.Addr(hostSource))
	other := lab.Addr(hostPeer + 3)
	lab.FreeRADIUSWith("nas", other, map[string]string{"radiusd.conf": fmt.Sprintf(coaReceiver, other, harness.NASSecret)})
	coa := netip.AddrPortFrom(lab.Addr(55), 3799)
	s := front{
		servers: addrs(one, two), service: fmt.Sprintf("    coa: [%q]\n    coa_source: %s\n", coa, lab.Addr(54)),
	}.start(lab)
	nas.account(s.Acct, 1, acctStart, "session-1", "user-1")

	ask := func(server netip.Addr, kind, secret, attributes string) string {
		return radclient(lab, coa, kind, secret, "Packet-Src-IP-Address="+server.String()+","+attributes)
	}
	for _, c := range []struct{ kind, attributes, want string }{
		{"coa", "Acct-Session-Id=session-1,Filter-Id=slow,Proxy-State=0x616263", "Received CoA-ACK"},
		{"coa", "User-Name=user-1,Filter-Id=slow,Tunnel-Password:1=hidden", "Received CoA-ACK"},
		{"coa", "NAS-Identifier=concentrator,User-Name=user-1,Filter-Id=fast", "Received CoA-ACK"},
		{"disconnect", "NAS-IP-Address=" + nas.addr.String() + ",Acct-Session-Id=session-1", "Received Disconnect-ACK"},
		{"disconnect", "NAS-IP-Address=" + other.String() + ",User-Name=user-9", "Received Disconnect-ACK"},
		{"coa", "Acct-Session-Id=no-such-session,Filter-Id=slow", "Error-Cause = Session-Context-Not-Found"},
		{"disconnect", "NAS-Identifier=no-such-nas,Acct-Session-Id=session-1", "Error-Cause = Proxy-Request-Not-Routable"},
	} {
		for _, server := range addrs(one, two) {
			out := ask(server, c.kind, harness.BackendSecret, c.attributes)
			if !strings.Contains(out, c.want) {
				t.Errorf("%s with %s:\n%s", c.kind, c.attributes, out)
			}
			if strings.Contains(c.attributes, "Proxy-State") && !strings.Contains(out[strings.Index(out, "Received"):], "Proxy-State = 0x616263") {
				t.Errorf("the server's Proxy-State did not come back:\n%s", out)
			}
		}
	}
	got := nas.requests()
	if len(got) != 8 {
		t.Errorf("the NAS got %d requests, not 8", len(got))
	}
	for _, raw := range got {
		p, err := radius.Parse(raw, []byte(harness.NASSecret))
		if err != nil {
			t.Fatal(err)
		}
		if len(rfc2865.ProxyState_Get(p)) > 0 {
			t.Errorf("the NAS got a Proxy-State: %x", raw)
		}
		hidden := &radius.Packet{Secret: []byte(harness.NASSecret)} // the authenticator that hides is zero in CoA
		if tag, password, err := rfc2868.TunnelPassword_LookupString(p, hidden); err == nil && (tag != 1 || password != "hidden") {
			t.Errorf("the NAS got tunnel password %q, tag %d", password, tag)
		} else if err != nil && bytes.Contains(raw, []byte{69}) && err != radius.ErrNoAttribute {
			t.Errorf("tunnel password: %v", err)
		}
	}
	badCoA(t, lab, s, nas, coa, one.Addr)
	s.WaitIdle()
	if n := s.Metrics().Sum("sereno_radius_answers_total", "kind", "coa"); n < 16 {
		t.Errorf("%g CoA answers are counted", n)
	}
}

// badCoA is the part about a NAS that refuses or is silent, wrong secrets, strangers, and old packets.
func badCoA(t *testing.T, lab *harness.Lab, s *harness.Sereno, nas *concentrator, coa netip.AddrPort, server netip.Addr) {
	t.Helper()
	ask := func(source netip.Addr, secret, attributes string) string {
		out, _ := lab.Output("Packet-Src-IP-Address="+source.String()+","+attributes, "radclient", "-x", "-r", "1", "-t", "3", coa.String(), "coa", secret)
		return out
	}
	nas.set(0, true)
	if out := ask(server, harness.BackendSecret, "Acct-Session-Id=session-1"); !strings.Contains(out, "Received CoA-NAK") {
		t.Errorf("the NAS's refusal:\n%s", out)
	}
	nas.set(1, false)
	nas.requests()
	if out := ask(server, harness.BackendSecret, "Acct-Session-Id=session-1"); !strings.Contains(out, "Received CoA-ACK") {
		t.Errorf("a NAS that loses a packet:\n%s", out)
	}
	if got := nas.requests(); len(got) != 2 || !bytes.Equal(got[0], got[1]) {
		t.Errorf("the NAS that lost a packet got %d, the same: %v", len(got), len(got) == 2 && bytes.Equal(got[0], got[1]))
	}
	for reason, c := range map[string]struct {
		source netip.Addr
		secret string
		more   []byte
	}{
		"unknown-client": {lab.Addr(hostSource + 3), harness.BackendSecret, nil},
		"authenticator":  {server, "not-the-secret", nil},
		"stale":          {server, harness.BackendSecret, binary.BigEndian.AppendUint32([]byte{55, 6}, uint32(time.Now().Unix()-400))},
	} {
		before := dropped(s, reason)
		conn := from(t, c.source, 0, coa)
		p := radpkt.Start(nil, 43, 7)
		p = append(radpkt.AttrString(p, radpkt.AcctSessionID, "session-1"), c.more...)
		request, err := (&radius.Packet{Code: radius.CodeCoARequest, Identifier: 7, Secret: []byte(c.secret), Attributes: attributes(t, p)}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		send(t, conn, request)
		if reply := receive(t, conn, 200*time.Millisecond); reply != nil {
			t.Errorf("%s: %x", reason, reply)
		}
		if n := dropped(s, reason) - before; n != 1 {
			t.Errorf("%s: %g drops are counted", reason, n)
		}
	}
	if got := nas.requests(); len(got) != 0 {
		t.Errorf("the NAS got %d requests that should have been dropped", len(got))
	}
	nas.account(s.Acct, 2, acctStop, "session-1", "user-1")
	if out := ask(server, harness.BackendSecret, "Acct-Session-Id=session-1"); !strings.Contains(out, "Error-Cause = Session-Context-Not-Found") {
		t.Errorf("a session that has ended:\n%s", out)
	}
}

// attributes are those of a packet in another implementation's form.
func attributes(t *testing.T, p []byte) radius.Attributes {
	t.Helper()
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	out, err := radius.ParseAttributes(p[20:])
	if err != nil {
		t.Fatal(err)
	}
	return out
}
