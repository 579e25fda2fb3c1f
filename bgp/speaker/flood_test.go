package speaker

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"sereno/bgp"
)

// flooder is a router that was set wrong: it sends a whole table. It keeps
// what it is sent.
type flooder struct {
	at     netip.AddrPort
	routes int

	mu       sync.Mutex
	table    map[string]bool
	sessions int
}

func startFlooder(t *testing.T, routes int) *flooder {
	f := &flooder{routes: routes, table: map[string]bool{}}
	f.at = rawNeighbor(t, f.serve)
	return f
}

func (f *flooder) address() netip.AddrPort { return f.at }

func (f *flooder) has(_ testing.TB, prefix string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.table[prefix] {
		return prefix
	}
	return ""
}

func (f *flooder) serve(conn net.Conn) error {
	f.mu.Lock()
	f.sessions++
	clear(f.table)
	f.mu.Unlock()
	if err := send(conn, openMessage(64500, 90), rawMessage(wire.BGP_MSG_KEEPALIVE)); err != nil {
		return err
	}
	ended := make(chan error, 1)
	established := make(chan struct{})
	go func() { ended <- f.listen(conn, established) }()
	select {
	case <-established:
	case err := <-ended:
		return err
	}
	for n := 0; n < f.routes; n += perUpdate {
		if err := send(conn, tableUpdate(n)); err != nil {
			return err
		}
	}
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-every.C:
			if err := send(conn, rawMessage(wire.BGP_MSG_KEEPALIVE)); err != nil {
				return err
			}
		}
	}
}

// listen follows what the speaker sends, until the connection ends.
func (f *flooder) listen(conn net.Conn, established chan<- struct{}) error {
	var once sync.Once
	for {
		head := make([]byte, 19)
		if _, err := io.ReadFull(conn, head); err != nil {
			return err
		}
		body := make([]byte, int(binary.BigEndian.Uint16(head[16:]))-19)
		if _, err := io.ReadFull(conn, body); err != nil {
			return err
		}
		m, err := wire.ParseBGPMessage(append(head, body...))
		if err != nil {
			return err
		}
		if m.Header.Type == wire.BGP_MSG_KEEPALIVE {
			once.Do(func() { close(established) })
		}
		if u, ok := m.Body.(*wire.BGPUpdate); ok {
			f.mu.Lock()
			for _, p := range u.WithdrawnRoutes {
				delete(f.table, p.String())
			}
			for _, p := range u.NLRI {
				f.table[p.String()] = true
			}
			f.mu.Unlock()
		}
	}
}

// perUpdate is how many routes of a table share their attributes: of the Internet's it is about as many.
const perUpdate = 5

// tableUpdate announces perUpdate /24s from the nth after 1.0.0.0 on, with attributes of their own.
func tableUpdate(n int) []byte {
	attrs := []byte{0x40, 1, 1, 0, 0x40, 3, 4, 127, 0, 0, 1, 0x40, 2, 22, 2, 5}
	for i := range 5 {
		attrs = binary.BigEndian.AppendUint32(attrs, uint32(64500+i*n))
	}
	binary.BigEndian.PutUint32(attrs[16:], 64500)
	attrs = append(attrs, 0xc0, 8, 8)
	attrs = binary.BigEndian.AppendUint64(attrs, uint64(64500)<<48|uint64(n))
	body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attrs)))
	body = append(body, attrs...)
	for i := n; i < n+perUpdate; i++ {
		v := uint32(1)<<24 + uint32(i)<<8
		body = append(body, 24, byte(v>>24), byte(v>>16), byte(v>>8))
	}
	return rawMessage(wire.BGP_MSG_UPDATE, body...)
}

// mostMemory is the most that a process has had resident, in MiB.
func mostMemory(t *testing.T, pid int) (mib int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if _, err := fmt.Sscan(rest, &mib); err != nil {
				t.Fatal(err)
			}
		}
	}
	return mib / 1024
}

// floodSettings is a node with one neighbor, which floods it.
func floodSettings(f *flooder) bgp.Settings {
	s := settings(f.address(), vip)
	s.BGP.Lease = 3 * time.Second
	s.BGP.Neighbors[0].Name, s.BGP.Neighbors[0].Source = "flooder", "127.0.0.3"
	return s
}

func alarmed(c *bgp.Controller, name, words string) bool {
	return slices.ContainsFunc(c.Status().Alarms, func(a bgp.Alarm) bool { return a.Name == name && strings.Contains(a.Text, words) })
}

func TestA19AFloodIsClosedWhereAnotherSessionStands(t *testing.T) {
	needE2E(t, "300,000 routes")
	f, good := startFlooder(t, 300_000), startGoRouter(t, localRouter)
	s := floodSettings(f)
	s.BGP.Neighbors = append(s.BGP.Neighbors, neighbor("core-1", good.address()))
	c := startNode(t, s)
	c.SetServices(up)
	eventually(t, 20*time.Second, "route", func() bool { return good.has(t, vip) != "" && state(c, "core-1").State == bgp.Established })
	eventually(t, 60*time.Second, "the flood's end", func() bool { return state(c, "flooder").State == bgp.Down })
	n := state(c, "flooder")
	t.Log(n.LastError)
	if !strings.Contains(n.LastError, "closed for 5m0s: it sends ") || n.SpeakerDeaths != 0 {
		t.Errorf("status %+v", n)
	}
	if !alarmed(c, bgp.AlarmTooManyRoutes, "more than max_received (1000): let it export nothing to us") || alarmed(c, bgp.AlarmTooManyRoutes, "sends 0 routes") {
		t.Errorf("alarms %+v", c.Status().Alarms)
	}
	time.Sleep(3 * time.Second) // three looks at it
	if state(c, "flooder").State != bgp.Down {
		t.Error("it is tried again before its time")
	}
	if n := state(c, "core-1"); n.State != bgp.Established || n.SpeakerDeaths != 0 || good.count("session-down", "") != 0 || good.count("withdrawn", vip) != 0 {
		t.Errorf("the good neighbor suffers: %+v", n)
	}
	good.mu.Lock()
	defer good.mu.Unlock()
	if len(good.routes) != 1 {
		t.Errorf("the good neighbor has %d routes", len(good.routes))
	}
}

func TestA19TheLastSessionStandsAFlood(t *testing.T) {
	needE2E(t, "300,000 routes, with SERENO_E2E=full 1,100,000")
	routes := 300_000
	if os.Getenv("SERENO_E2E") == "full" {
		routes = 1_100_000 // a whole table of the Internet's
	}
	f := startFlooder(t, routes)
	c := startNode(t, floodSettings(f))
	c.SetServices(up)
	took := eventually(t, 2*time.Minute, "all of them", func() bool { return state(c, "flooder").Received >= routes })
	if !alarmed(c, bgp.AlarmTooManyRoutes, fmt.Sprintf("it sends %d routes", routes)) {
		t.Errorf("alarms %+v", c.Status().Alarms)
	}
	var worst time.Duration
	for range 5 { // while it is looked at every second
		eventually(t, 10*time.Second, "route", func() bool { return f.has(t, vip) != "" })
		time.Sleep(700 * time.Millisecond)
		start := time.Now()
		c.SetServices(down)
		eventually(t, 10*time.Second, "withdrawal", func() bool { return f.has(t, vip) == "" })
		worst = max(worst, time.Since(start))
		c.SetServices(up)
	}
	n := state(c, "flooder")
	mib := mostMemory(t, n.SpeakerPID)
	t.Logf("figure: %d routes in %v: %d MiB at most, withdrawals within %v, lease margin %gs", routes, took, mib, worst, n.LeaseMarginSeconds)
	if limit := memoryLimit * 5 / 4 >> 20; mib > limit {
		t.Errorf("the speaker has had %d MiB, want at most %d", mib, limit)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n.SpeakerDeaths != 0 || f.sessions != 1 {
		t.Errorf("%d sessions, %+v", f.sessions, n)
	}
}
