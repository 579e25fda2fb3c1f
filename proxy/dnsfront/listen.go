package dnsfront

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"syscall"

	"sereno/proxy/udp"
)

// listener is one listening address of one transport. UDP has a socket for each worker.
type listener struct {
	s         *Service
	transport Transport
	want      netip.AddrPort // as configured
	addr      netip.AddrPort // as opened
	conns     []*udp.Conn    // by worker; UDP only
	tcp       net.Listener   // all others
	http      *http.Server   // HTTPS only
	closed    atomic.Bool
}

// conn is the socket of one worker; nil if there is none or it was closed.
func (l *listener) conn(worker int) *udp.Conn {
	if worker >= len(l.conns) || l.closed.Load() {
		return nil
	}
	return l.conns[worker]
}

func (l *listener) close() error {
	if l.closed.Swap(true) {
		return nil
	}
	var errs []error
	for _, c := range l.conns {
		errs = append(errs, c.Close())
	}
	if l.http != nil {
		errs = append(errs, l.http.Close())
	}
	if l.tcp != nil {
		if err := l.tcp.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// openAll opens what set wants to listen on and takes over what is open already. On an
// error set.listeners holds what was opened nonetheless.
func (s *Service) openAll(set *settings, old []*listener) error {
	set.listeners = nil
	open := func(list []string, t Transport) error {
		for _, text := range list {
			addr, err := netip.ParseAddrPort(text)
			if err != nil {
				return fmt.Errorf("listening: %w", err)
			}
			l := find(old, t, addr)
			if l == nil {
				if l, err = s.open(t, addr, set); err != nil {
					return err
				}
			}
			set.listeners = append(set.listeners, l)
		}
		return nil
	}
	// UDP first: with port 0 (tests) it chooses, and TCP takes the same number.
	if err := errors.Join(open(set.cfg.Listen, UDP), open(set.cfg.Listen, TCP), open(set.cfg.TLS.Listen, TLS), open(set.cfg.HTTPS.Listen, HTTPS)); err != nil {
		return err
	}
	set.addOwn()
	return nil
}

func find(list []*listener, t Transport, want netip.AddrPort) *listener {
	for _, l := range list {
		if l.transport == t && l.want == want {
			return l
		}
	}
	return nil
}

func (s *Service) open(t Transport, want netip.AddrPort, set *settings) (*listener, error) {
	l := &listener{s: s, transport: t, want: want, addr: want}
	if t != UDP {
		if want.Port() == 0 && t == TCP {
			for _, u := range set.listeners {
				if u.transport == UDP && u.want == want {
					l.addr = u.addr
				}
			}
		}
		if err := l.openStream(); err != nil {
			return nil, err
		}
		if t == HTTPS {
			l.http = l.newHTTPS(set)
		}
		return l, nil
	}
	if want.Port() == 0 {
		port, err := freePort(want.Addr())
		if err != nil {
			return nil, err
		}
		l.addr = netip.AddrPortFrom(want.Addr(), port)
	} else {
		// The shared sockets would let a second instance in without a word (D53).
		if err := udp.Probe(want); err != nil {
			return nil, err
		}
	}
	for _, w := range s.workers {
		c, err := w.group.Listen(l.addr, udp.ListenConfig{Tag: l})
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		l.addr = netip.AddrPortFrom(want.Addr(), c.LocalAddr().Port())
		l.conns = append(l.conns, c)
	}
	return l, nil
}

// freePort finds a port that nobody has. To a socket that shares its port the kernel may
// give one that a stranger shares too.
func freePort(addr netip.Addr) (uint16, error) {
	lc := net.ListenConfig{Control: freeBindControl(addr.Is6())}
	c, err := lc.ListenPacket(context.Background(), "udp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		return 0, fmt.Errorf("finding a free port on %s: %w", addr, err)
	}
	at, _ := c.LocalAddr().(*net.UDPAddr)
	return at.AddrPort().Port(), c.Close()
}

// freeBindControl prepares a socket whose address may not be on the host yet (D52).
func freeBindControl(is6 bool) func(string, string, syscall.RawConn) error {
	return func(_, _ string, rc syscall.RawConn) error {
		var err error
		if cerr := rc.Control(func(fd uintptr) { err = freeBind(fd, is6) }); cerr != nil {
			return cerr
		}
		return err
	}
}

// openStream opens the TCP socket, also on an address that the host does not have yet
// (D52).
func (l *listener) openStream() error {
	is6 := l.addr.Addr().Is6()
	network := "tcp4"
	if is6 {
		network = "tcp6"
	}
	lc := net.ListenConfig{Control: freeBindControl(is6)}
	lc.SetMultipathTCP(false)
	tcp, err := lc.Listen(context.Background(), network, l.addr.String())
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("TCP %s is in use by another instance or another server: %w", l.addr, err)
		}
		return fmt.Errorf("listening on TCP %s: %w", l.addr, err)
	}
	l.tcp = tcp
	if a, ok := tcp.Addr().(*net.TCPAddr); ok {
		l.addr = netip.AddrPortFrom(l.want.Addr(), a.AddrPort().Port())
	}
	return nil
}

// serve begins to take connections.
func (l *listener) serve() {
	switch {
	case l.http != nil:
		l.s.done.Go(l.serveHTTPS)
	case l.tcp != nil:
		l.s.done.Go(l.accept)
	}
}

func closeListeners(list []*listener) error {
	var errs []error
	for _, l := range list {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

// closeStreamListeners stops taking connections.
func closeStreamListeners(list []*listener) error {
	var errs []error
	for _, l := range list {
		if l.tcp != nil {
			errs = append(errs, l.tcp.Close())
		}
	}
	return errors.Join(errs...)
}

// finishHTTPS lets HTTP connections end what they have begun, until ctx ends.
func finishHTTPS(ctx context.Context, list []*listener) {
	for _, l := range list {
		if l.http != nil {
			_ = l.http.Shutdown(ctx) // what is left is closed with the listener
		}
	}
}

// without is list less what is in other.
func without(list, other []*listener) (out []*listener) {
	for _, l := range list {
		if find(other, l.transport, l.want) != l {
			out = append(out, l)
		}
	}
	return out
}
