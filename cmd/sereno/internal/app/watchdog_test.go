package app

import (
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
)

// stickyCore is a log that does not come back from writing some line.
type stickyCore struct {
	zapcore.Core
	line  string
	stuck chan struct{} // closed: it comes back
}

func (c stickyCore) With(f []zapcore.Field) zapcore.Core {
	return stickyCore{c.Core.With(f), c.line, c.stuck}
}

func (c stickyCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return to.AddCore(e, c)
}

func (c stickyCore) Write(e zapcore.Entry, f []zapcore.Field) error {
	if e.Message == c.line {
		<-c.stuck
	}
	return c.Core.Write(e, f)
}

func TestO23AWedgedWorkerStopsFeedingTheWatchdog(t *testing.T) {
	m := newManager(t)
	t.Setenv("WATCHDOG_USEC", "300000")
	stuck := make(chan struct{})
	s := newSite(t)
	s.wrap = func(c zapcore.Core) zapcore.Core { return stickyCore{c, "packet from an unknown client", stuck} }
	n := s.start()
	defer n.startWatchdog()()
	fed := func() int { return strings.Count(strings.Join(m.heard(), "\n"), "WATCHDOG=1") }
	until(t, 5*time.Second, "the watchdog to be fed", func() bool { return fed() > 2 })

	// Backends do not enter: all of them die.
	for _, r := range s.resolvers {
		r.Close()
	}
	until(t, 10*time.Second, "the service to be down", func() bool { return s.service("resolver").State == "down" })
	before := fed()
	until(t, 5*time.Second, "the watchdog to be fed all the same", func() bool { return fed() > before+2 })

	// A worker gets stuck over a packet.
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}, mustUDP(t, s.auth))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := make([]byte, 20)
	p[0], p[3] = 1, 20
	if _, err := c.Write(p); err != nil {
		t.Fatal(err)
	}
	last, since := fed(), time.Now()
	until(t, 10*time.Second, "the feeding to stop", func() bool {
		if now := fed(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > time.Second
	})
	// A self-probe may have come to that worker first, and the next one to another.
	hungry := func() int { return s.logged("systemd's watchdog is not fed until this is over", "", "") }
	again := func() int { return s.logged("systemd's watchdog is fed again", "", "") }
	if hungry() == 0 || again() != hungry()-1 {
		t.Errorf("the log says %d times that it is not fed, and %d times that it is fed again", hungry(), again())
	}
	close(stuck)
	until(t, 10*time.Second, "the feeding to go on", func() bool { return fed() > last+2 })
	if again() != hungry() {
		t.Errorf("the log says %d times that it is not fed, and %d times that it is fed again", hungry(), again())
	}
}

func TestO23NoWatchdogWhereNoneIsAskedFor(t *testing.T) {
	m := newManager(t)
	for _, usec := range []string{"", "soon"} {
		t.Setenv("WATCHDOG_USEC", usec)
		s := newSite(t)
		n := s.start()
		n.startWatchdog()()
		s.stop()
	}
	if got := m.heard(); len(got) != 0 {
		t.Error(got)
	}
}

func mustUDP(t *testing.T, addr string) *net.UDPAddr {
	t.Helper()
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
