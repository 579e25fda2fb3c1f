package health

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"sereno/proxy/dnswire"
	"sereno/proxy/radwire"
)

// Proofs are the keys, random for each process, that a self-probe's answer is
// verified with: an answer that fits can only come from this process (A07).
type Proofs struct {
	DNS    dnswire.ProbeKey
	RADIUS radwire.ProbeSecret
}

// selfOutcome is what one question to one of our own listeners brought.
type selfOutcome uint8

const (
	selfGood    selfOutcome = iota
	selfSilent              // nothing came: overload would look the same, so busy workers are excused
	selfRefused             // the listener is not there, or somebody else answers: no load does that
	selfAbsent              // the address is not on this host
)

// selfProbe asks one listener for the proof that it is ours.
func (p *Proofs) selfProbe(ctx context.Context, kind string, l Listener) (selfOutcome, error) {
	addr := loopback(l.Addr)
	if err := onHost(addr.Addr()); err != nil {
		return selfAbsent, err
	}
	// From the address itself: the packet then cannot leave the host, where another
	// anycast site could swallow it.
	conn, err := dial(ctx, l.Network, &Target{Addr: addr, Source: addr.Addr()})
	if err != nil {
		return selfClass(err), fmt.Errorf("%v: %w", l, err)
	}
	defer func() { _ = conn.Close() }()
	question, verify := p.question(kind)
	if l.Network == "tcp" {
		err = askTCP(ctx, conn, question, verify)
	} else {
		err = exchange(ctx, conn, question, make([]byte, radwire.MaxLen), func(reply []byte) (bool, error) {
			if !verify(reply) {
				return false, errForeign
			}
			return true, nil
		})
	}
	if err != nil {
		return selfClass(err), fmt.Errorf("%v: %w", l, err)
	}
	return selfGood, nil
}

// question is a fresh question and the check of its answer.
func (p *Proofs) question(kind string) (msg []byte, verify func(answer []byte) bool) {
	if kind == "dns" {
		msg, _ = p.DNS.Question()
		return msg, func(answer []byte) bool { return p.DNS.Verify(msg, answer) }
	}
	msg = p.RADIUS.Question(1)
	return msg, func(answer []byte) bool { return p.RADIUS.Verify(msg, answer) }
}

var errForeign = errors.New("the answer is not this process's own")

// askTCP makes the exchange over DNS's framing (RFC 1035 section 4.2.2).
func askTCP(ctx context.Context, conn net.Conn, question []byte, verify func([]byte) bool) error {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(question))) //nolint:gosec // a question is short
	if _, err := conn.Write(append(framed, question...)); err != nil {
		return fmt.Errorf("sending the self-probe: %w", err)
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if !verify(answer) {
		return errForeign
	}
	return nil
}

// selfClass tells what overload can look like from what it cannot. A TCP
// connection that is taken and closed again is the bound on connections at work.
func selfClass(err error) selfOutcome {
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return selfAbsent
	case errors.Is(err, errForeign), errors.Is(err, syscall.ECONNREFUSED):
		return selfRefused
	}
	return selfSilent
}

// loopback is where a wildcard listener is asked.
func loopback(a netip.AddrPort) netip.AddrPort {
	switch a.Addr() {
	case netip.IPv4Unspecified():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
	case netip.IPv6Unspecified():
		return netip.AddrPortFrom(netip.IPv6Loopback(), a.Port())
	}
	return a
}

// onHost tells whether the kernel takes the address for its own. Binding to it
// says so, unless ip_nonlocal_bind lets anything be bound; then it must stand on
// an interface, or be the source that the kernel itself chooses towards it.
func onHost(addr netip.Addr) error {
	missing := fmt.Errorf("the address %v is not on this host", addr)
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			return missing
		}
		return nil // no verdict: the question itself will tell
	}
	_ = conn.Close()
	if !nonlocalBind(addr) || onInterface(addr) || ownSource(addr) {
		return nil
	}
	return missing
}

// ownSource tells whether the kernel, asked for a way to addr, would send from
// addr itself or from a loopback address: it does so only for what it delivers
// locally (AnyIP routes too).
func ownSource(addr netip.Addr) bool {
	conn, err := net.Dial("udp", netip.AddrPortFrom(addr, 9).String()) // nothing is sent
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	return local.IsLoopback() || local.WithZone("") == addr.WithZone("")
}

func nonlocalBind(addr netip.Addr) bool {
	family := "ipv6"
	if addr.Is4() {
		family = "ipv4"
	}
	value, err := os.ReadFile("/proc/sys/net/" + family + "/ip_nonlocal_bind")
	return err == nil && len(value) > 0 && value[0] == '1'
}

func onInterface(addr netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Unmap() == addr.WithZone("")
	})
}
