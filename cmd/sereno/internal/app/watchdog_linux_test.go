package app

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// usurp takes the datagrams of a wildcard listener for one address, as a socket that
// is bound to that very address does, and sends them back. It ends with the returned
// function.
func usurp(t *testing.T, addr string) (stop func()) {
	t.Helper()
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(err, failed)
	}}
	c, err := shared.ListenPacket(context.Background(), "udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(b[:n], from)
		}
	}()
	return func() { _ = c.Close(); <-ended }
}

func TestO23AFailingSelfProbeStopsFeedingTheWatchdog(t *testing.T) {
	m := newManager(t)
	t.Setenv("WATCHDOG_USEC", "300000")
	s := newSite(t)
	_, port, err := net.SplitHostPort(s.dns)
	if err != nil {
		t.Fatal(err)
	}
	s.change("dns", s.dns, "0.0.0.0:"+port)
	n := s.start()
	defer n.startWatchdog()()
	fed := func() int { return strings.Count(strings.Join(m.heard(), "\n"), "WATCHDOG=1") }
	until(t, 5*time.Second, "the watchdog to be fed", func() bool { return fed() > 2 })

	// Every worker turns, but what the service's address answers is not ours.
	stop := sync.OnceFunc(usurp(t, s.dns))
	defer stop()
	const hungry = "systemd's watchdog is not fed until this is over"
	until(t, 15*time.Second, "the feeding to stop", func() bool { return s.logged(hungry, "", "") == 1 })
	why, _ := s.logs.FilterMessage(hungry).All()[0].ContextMap()["why"].(string)
	if !strings.HasPrefix(why, "the self-probe of service resolver fails: ") || !strings.Contains(why, "not this process's own") {
		t.Error(why)
	}
	last, since := fed(), time.Now()
	until(t, 5*time.Second, "no feeding for a second", func() bool {
		if now := fed(); now > last+1 { // one may have been on its way
			t.Fatal("it is fed all the same")
		}
		return time.Since(since) > time.Second
	})
	if s.logged("systemd's watchdog is fed again", "", "") != 0 {
		t.Error("the log says that it is fed")
	}

	stop()
	until(t, 10*time.Second, "the feeding to go on", func() bool { return fed() > last+2 })
	if s.logged("systemd's watchdog is fed again", "", "") != 1 || s.logged(hungry, "", "") != 1 {
		t.Error("the log does not say so once")
	}
}
