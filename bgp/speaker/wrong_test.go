package speaker

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sereno/bgp"
)

// fullPort is a port that answers nothing: its queue of connections is full.
func fullPort(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*unix.SockaddrInet4).Port))
	for range 4 {
		conn, err := (&net.Dialer{Timeout: 100 * time.Millisecond}).Dial("tcp", at.String())
		if err != nil {
			return at // the kernel drops what comes from now on
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the queue takes every connection")
	return at
}

// closedPort is a port that nobody listens on.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	a := netip.MustParseAddr("127.0.0.1")
	port, err := freePort(a)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(a, port)
}

// TestA18WhatIsWrongWithANeighborIsToldInWords has all of them at once beside a good one, which must not notice. The
// same words are those of the alarm after 30 s (TestA18SilentNeighborIsAnAlarmWithItsReason).
func TestA18WhatIsWrongWithANeighborIsToldInWords(t *testing.T) {
	t.Parallel()
	raw := func(serve func(net.Conn) error) func(t *testing.T) netip.AddrPort {
		return func(t *testing.T) netip.AddrPort { return rawNeighbor(t, serve) }
	}
	attribute := rawMessage(2, 0, 0, 0, 4, 0x40, 1, 200, 0) // an ORIGIN of 200 octets, of which there is one
	lengths := rawMessage(2, 0xff, 0xff, 0, 0)              // more withdrawn routes than the message has room for
	hostBits := rawMessage(2, 0, 0, 0, 20, 0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfb, 0xf4, 0x40, 3, 4, 127, 0, 0, 1, 20, 198, 18, 0xff)
	cases := []struct {
		name  string
		start func(t *testing.T) netip.AddrPort
		words string // "": the session stands
	}{
		{"refuses", closedPort, "connection refused"},
		{"black-hole", fullPort, "no answer (host or port unreachable, a filter, or another MD5 password)"},
		{"mute", raw(drain), "takes the connection and does not answer our OPEN"},
		{"hangs-up", raw(func(conn net.Conn) error { _, err := readMessage(conn); return err }), "closed the connection before the session was up"},
		{"web-server", raw(straight([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))), "does not answer our OPEN"},
		{"other-asn", raw(straight(openMessage(64999, 90))), "as number mismatch expected 64500, received 64999"},
		{"hold-1", raw(straight(openMessage(64500, 1))), "hold time"},
		{"hold-0", raw(straight(openMessage(64500, 0), rawMessage(4))), "hold time of 0"},
		{"bad-attribute", raw(afterwards(attribute)), "treated as withdraw"}, // RFC 7606: the session stands
		{"bad-lengths", raw(afterwards(lengths)), "sent a notification"},
		{"unknown-type", raw(afterwards(rawMessage(200))), "died"},
		{"host-bits", raw(afterwards(hostBits)), ""},
	}
	good := startGoRouter(t, localRouter)
	s := settings(good.address(), vip)
	for i, tt := range cases {
		n := neighbor(tt.name, tt.start(t))
		n.Source = fmt.Sprintf("127.0.1.%d", i+1)
		s.BGP.Neighbors = append(s.BGP.Neighbors, n)
	}
	c := startNode(t, s)
	c.SetServices(up)
	eventually(t, 20*time.Second, "route", func() bool { return good.has(t, vip) != "" && state(c, "core-1").State == bgp.Established })
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			var n bgp.NeighborStatus
			defer func() { t.Logf("%s, %s: %q", n.State, n.Speaker, n.LastError) }()
			eventually(t, 30*time.Second, "the words", func() bool {
				n = state(c, tt.name)
				if tt.words == "" {
					return n.State == bgp.Established && n.Received == 1
				}
				return strings.Contains(strings.ToLower(n.LastError), strings.ToLower(tt.words))
			})
		})
	}
	alarmed := false
	for _, a := range c.Status().Alarms {
		alarmed = alarmed || a.Name == bgp.AlarmHoldTimeZero && strings.HasPrefix(a.Text, "hold-0 ")
	}
	if !alarmed {
		t.Errorf("no alarm of the hold time: %+v", c.Status().Alarms)
	}
	if n := state(c, "core-1"); n.SpeakerDeaths != 0 || n.State != bgp.Established || n.Drifts != 0 || good.count("withdrawn", vip) != 0 || good.count("session-down", "") != 0 {
		t.Errorf("the good neighbor suffers: %+v", n)
	}
	good.mu.Lock()
	defer good.mu.Unlock()
	if len(good.routes) != 1 {
		t.Errorf("the good neighbor has %v", good.routes)
	}
}
