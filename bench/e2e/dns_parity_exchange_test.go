package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
)

// way is how a question goes to a server.
type way uint8

const (
	overUDP way = iota
	overTCP
	overTLS
	overHTTPS
	everyWay
)

// portOf is the port of the tests' own nodes for that transport.
func portOf(w way) uint16 {
	return [...]uint16{harness.DNSPort, harness.DNSPort, 8530, 8443}[w]
}

func (w way) String() string { return [...]string{"UDP", "TCP", "TLS", "HTTPS"}[w] }

// client asks servers, one question after the other, over connections that it keeps.
type client struct {
	t     *testing.T
	conns map[string]net.Conn
	https *http.Client
	path  string
	buf   []byte
}

func newClient(t *testing.T) *client {
	unchecked := &tls.Config{InsecureSkipVerify: true} // the certificate is the test's own
	return &client{
		t: t, conns: map[string]net.Conn{}, buf: make([]byte, 65536), path: "/dns-query",
		https: &http.Client{Transport: &http.Transport{TLSClientConfig: unchecked, ForceAttemptHTTP2: true}},
	}
}

func (c *client) close() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.https.CloseIdleConnections()
}

// ask sends a message and gives the answer with its ID; none within five seconds fails the test.
func (c *client) ask(w way, server netip.AddrPort, message []byte) []byte {
	c.t.Helper()
	m, err := c.try(w, server, message, 5*time.Second)
	if err != nil && w != overUDP { // the server may have closed an idle connection
		m, err = c.try(w, server, message, 5*time.Second)
	}
	if err != nil {
		c.t.Errorf("asking %s over %s %x: %v", server, w, message, err)
		return nil
	}
	return bytes.Clone(m)
}

// try is ask with a patience of its own and an error. What it gives is good until the next call.
func (c *client) try(w way, server netip.AddrPort, message []byte, patience time.Duration) ([]byte, error) {
	if w == overHTTPS {
		return c.post(server, message, patience)
	}
	conn, err := c.conn(w, server)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	n, err := c.exchange(w, conn, message)
	if err != nil && w != overUDP {
		delete(c.conns, key(w, server))
		return nil, errors.Join(err, conn.Close())
	}
	return c.buf[:n], err
}

func (c *client) exchange(w way, conn net.Conn, message []byte) (int, error) {
	if w != overUDP {
		framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...) // no message of the tests is longer
		if _, err := conn.Write(framed); err != nil {
			return 0, err
		}
	} else if _, err := conn.Write(message); err != nil {
		return 0, err
	}
	for {
		n, err := read(w, conn, c.buf)
		if err != nil {
			return 0, err
		}
		if n >= 2 && bytes.Equal(c.buf[:2], message[:2]) {
			return n, nil
		}
	}
}

// read reads one message.
func read(w way, conn net.Conn, buf []byte) (int, error) {
	if w == overUDP {
		return conn.Read(buf)
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(conn, buf[:n])
	return n, err
}

func key(w way, server netip.AddrPort) string { return fmt.Sprint(w, server) }

func (c *client) conn(w way, server netip.AddrPort) (net.Conn, error) {
	if conn := c.conns[key(w, server)]; conn != nil {
		return conn, nil
	}
	var conn net.Conn
	var err error
	switch w {
	case overUDP:
		conn, err = net.Dial("udp", server.String())
	case overTCP:
		conn, err = net.Dial("tcp", server.String())
	case overTLS:
		conn, err = tls.Dial("tcp", server.String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"dot"}})
	}
	if err != nil {
		return nil, err
	}
	c.conns[key(w, server)] = conn
	return conn, nil
}

// post asks over HTTPS (RFC 8484), with an ID of 0 as there is usual, and puts the message's own back.
func (c *client) post(server netip.AddrPort, message []byte, patience time.Duration) ([]byte, error) {
	body := append([]byte{0, 0}, message[2:]...)
	c.https.Timeout = patience
	reply, err := c.https.Post("https://"+server.String()+c.path, "application/dns-message", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	n, err := io.ReadFull(reply.Body, c.buf)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	if reply.StatusCode != http.StatusOK || reply.Header.Get("Content-Type") != "application/dns-message" || n < 12 {
		return nil, fmt.Errorf("%s %s: %q", reply.Status, reply.Header.Get("Content-Type"), c.buf[:min(n, 200)])
	}
	copy(c.buf, message[:2])
	return c.buf[:n], nil
}
