package harness

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// Autonomous systems of the lab.
const (
	NodeASN   = 64512
	RouterASN = 64500
)

const birdConfig = `log stderr all;
router id 10.255.0.2;
protocol device {
}
protocol bgp node {
	local %[1]s port %[2]d as %[3]d;
	neighbor %[4]s as %[5]d;
	multihop;
	passive on;
	strict bind;
	hold time 9;
	ipv4 {
		import all;
		export none;
	};
}
`

// BIRD is a real router with one session, to the lab's node.
type BIRD struct {
	*Process
	Addr    netip.Addr
	control string
}

// BIRD starts the lab's router and waits until it can be asked. With refuse it expects another autonomous system,
// and refuses the session.
func (l *Lab) BIRD(refuse bool) *BIRD {
	l.t.Helper()
	b := &BIRD{Addr: l.Addr(hostRouter), control: filepath.Join(l.dir, "bird.ctl")}
	asn := NodeASN
	if refuse {
		asn = 65000
	}
	conf := l.write("bird.conf", fmt.Sprintf(birdConfig, b.Addr, BGPPort, RouterASN, l.Addr(hostNode), asn))
	b.Process = l.prepare("bird", l.Program("bird"), "-f", "-c", conf, "-s", b.control, "-P", filepath.Join(l.dir, "bird.pid"))
	b.Start()
	return b
}

// Start starts it (again).
func (b *BIRD) Start() {
	b.lab.t.Helper()
	b.start()
	b.lab.Eventually(10*time.Second, "bird can be asked", func() bool {
		conn, err := net.Dial("unix", b.control)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

// Watch is a conversation over BIRD's control socket, as birdc has it, but without a program for each question.
type Watch struct {
	b    *BIRD
	conn net.Conn
	in   *bufio.Scanner
}

// Watch opens a conversation.
func (b *BIRD) Watch() *Watch {
	b.lab.t.Helper()
	conn, err := net.Dial("unix", b.control)
	if err != nil {
		b.lab.t.Fatal(err)
	}
	b.lab.t.Cleanup(func() { _ = conn.Close() })
	w := &Watch{b, conn, bufio.NewScanner(conn)}
	w.read()
	return w
}

// read reads one reply: lines up to the one whose code is followed by a space.
func (w *Watch) read() string {
	w.b.lab.t.Helper()
	var text strings.Builder
	for w.in.Scan() {
		line := w.in.Text()
		text.WriteString(line + "\n")
		if len(line) >= 5 && line[4] == ' ' && line[0] >= '0' && line[0] <= '9' {
			return text.String()
		}
	}
	w.b.lab.t.Fatalf("bird's control socket: %v after %q", w.in.Err(), &text)
	return ""
}

// Ask gives BIRD's reply to a command of birdc.
func (w *Watch) Ask(command string) string {
	w.b.lab.t.Helper()
	if _, err := fmt.Fprintln(w.conn, command); err != nil {
		w.b.lab.t.Fatal(err)
	}
	return w.read()
}

// Route gives what BIRD has on a prefix, with all attributes, or "" when it has no route.
func (w *Watch) Route(prefix string) string {
	w.b.lab.t.Helper()
	reply := w.Ask("show route " + prefix + " all")
	if strings.Contains(reply, "BGP.as_path") {
		return reply
	}
	return ""
}

// Until waits until the prefix has a route, or has none, looking every half millisecond, and gives the moment.
func (w *Watch) Until(prefix string, routed bool, patience time.Duration) time.Time {
	w.b.lab.t.Helper()
	start := time.Now()
	for time.Since(start) < patience {
		if (w.Route(prefix) != "") == routed {
			return time.Now()
		}
		time.Sleep(500 * time.Microsecond)
	}
	w.b.lab.t.Fatalf("route to %s: want %v, not within %s", prefix, routed, patience)
	return time.Time{}
}
