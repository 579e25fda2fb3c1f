package speaker

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	wire "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// rawNeighbor is a router made of bytes: serve is called for each connection,
// which is closed when it returns.
func rawNeighbor(t *testing.T, serve func(conn net.Conn) error) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = serve(conn) // the speaker may hang up at any time
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// drain reads until the connection ends.
func drain(conn net.Conn) error {
	_, err := io.Copy(io.Discard, conn)
	return err
}

// rawMessage is a BGP message of any type and content (RFC 4271 §4.1).
func rawMessage(kind byte, body ...byte) []byte {
	b := append([]byte(strings.Repeat("\xff", 16)), 0, 0, kind)
	b = append(b, body...)
	binary.BigEndian.PutUint16(b[16:], uint16(len(b)))
	return b
}

// readMessage reads one BGP message and gives its type.
func readMessage(conn net.Conn) (byte, error) {
	var head [19]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return 0, err
	}
	n := int64(binary.BigEndian.Uint16(head[16:])) - 19
	if n < 0 {
		return 0, errors.New("a message without a head")
	}
	_, err := io.CopyN(io.Discard, conn, n)
	return head[18], err
}

func send(conn net.Conn, messages ...[]byte) error {
	for _, m := range messages {
		if _, err := conn.Write(m); err != nil {
			return err
		}
	}
	return nil
}

func openMessage(asn, hold uint16) []byte {
	b, err := wire.NewBGPOpenMessage(asn, hold, "10.0.0.66", []wire.OptionParameterInterface{
		wire.NewOptionParameterCapability([]wire.ParameterCapabilityInterface{wire.NewCapMultiProtocol(wire.RF_IPv4_UC)})}).Serialize()
	if err != nil {
		panic(err)
	}
	return b
}

// establish opens a session as a good router does, and returns when the
// speaker has answered with its first keepalive.
func establish(conn net.Conn) error {
	if err := send(conn, openMessage(64500, 90), rawMessage(wire.BGP_MSG_KEEPALIVE)); err != nil {
		return err
	}
	for {
		if kind, err := readMessage(conn); err != nil || kind == wire.BGP_MSG_KEEPALIVE {
			return err
		}
	}
}

// afterwards establishes the session, sends these messages, and keeps it.
func afterwards(messages ...[]byte) func(net.Conn) error {
	return func(conn net.Conn) error {
		if err := establish(conn); err != nil {
			return err
		}
		if err := send(conn, messages...); err != nil {
			return err
		}
		return keep(conn)
	}
}

// keep keeps the session alive until the speaker ends it.
func keep(conn net.Conn) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = drain(conn) // its end is what is waited for
	}()
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-ended:
			return nil
		case <-every.C:
			if err := send(conn, rawMessage(wire.BGP_MSG_KEEPALIVE)); err != nil {
				return err
			}
		}
	}
}

// straight sends these messages as soon as the connection stands.
func straight(messages ...[]byte) func(net.Conn) error {
	return func(conn net.Conn) error {
		if err := send(conn, messages...); err != nil {
			return err
		}
		return drain(conn)
	}
}
