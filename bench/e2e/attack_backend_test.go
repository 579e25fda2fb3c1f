package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"sereno/bench/stub"
)

// dripper is a resolver that is well as far as probes go. Everything else it truncates over UDP, and over TCP it either
// promises the longest message and sends an octet now and then, or, for names that begin with "bomb" or "long", sends
// one whose names take long to follow; for those with "well" it answers.
type dripper struct {
	addr netip.AddrPort
	done sync.WaitGroup
}

func newDripper(t *testing.T, addr netip.AddrPort) *dripper {
	t.Helper()
	d := &dripper{addr: addr}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	d.done.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if n > 12 {
				_, _ = conn.WriteToUDPAddrPort(truncated(buf[:n]), from) // nobody may listen any more
			}
		}
	})
	d.done.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			d.done.Go(func() { d.serve(c, stop) })
		}
	})
	t.Cleanup(func() {
		close(stop)
		_, _ = conn.Close(), listener.Close()
		d.done.Wait()
	})
	return d
}

// truncated is the answer to a probe, or TC=1.
func truncated(query []byte) []byte {
	if query[12] == 0 {
		return stub.Answer(nil, query, stub.MaxUDP)
	}
	end := 12 + bytes.IndexByte(query[12:], 0) + 5
	m := bytes.Clone(query[:end])
	m[2], m[3] = 0x83, 0x80
	copy(m[4:], []byte{0, 1, 0, 0, 0, 0, 0, 0})
	return m
}

func (d *dripper) serve(c net.Conn, stop chan struct{}) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	var head [2]byte
	buf := make([]byte, 65536)
	for {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		query := buf[:binary.BigEndian.Uint16(head[:])]
		if _, err := io.ReadFull(c, query); err != nil || len(query) < 20 {
			return
		}
		m := []byte(nil)
		switch {
		case bytes.HasPrefix(query[13:], []byte("bomb")):
			m = bomb(query, 4000)
		case bytes.HasPrefix(query[13:], []byte("long")):
			m = bomb(query, 120)
		case bytes.HasPrefix(query[13:], []byte("well")):
			m = stub.Answer(nil, query, stub.MaxTCP)
		}
		if m != nil {
			if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...)); err != nil {
				return
			}
			continue
		}
		drop := append([]byte{0xff, 0xff}, query[:12]...)
		for { // until the other side has had enough
			if _, err := c.Write(drop); err != nil {
				return
			}
			drop = drop[:1]
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// bomb is an answer of 64 KB with as many records as fit, whose names are a pointer to a pointer to a pointer, and so on
// as many times. Nobody keeps it: its TTL is 0.
func bomb(query []byte, chain int) []byte {
	end := 12 + bytes.IndexByte(query[12:], 0) + 5
	m := bytes.Clone(query[:end])
	m[2], m[3] = 0x81, 0x80
	// One record whose data is the chain.
	m = append(m, 0xc0, 12, 0xff, 0x01, 0, 1, 0, 0, 0, 0)
	m = binary.BigEndian.AppendUint16(m, uint16(2*chain))
	at := 12
	for range chain {
		m = append(m, 0xc0|byte(at>>8), byte(at))
		at = len(m) - 2
	}
	n := 1
	for ; len(m)+16 <= 65535; n++ {
		m = append(m, 0xc0|byte(at>>8), byte(at), 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 203, 0, 113, byte(n))
	}
	copy(m[4:], []byte{0, 1, byte(n >> 8), byte(n), 0, 0, 0, 0})
	return m
}

// dripping asks for names whose resolver never ends its answer: each is answered by its deadline, with SERVFAIL.
func (a *attacked) dripping(t *testing.T) {
	labels, _ := strings.CutSuffix(dripZone, ".load.test.")
	b := a.flood(t, a.s.DNS, labels, 500)
	if b.Lost != 0 || b.Answered != 0 {
		t.Errorf("%d of %d were not answered", b.Lost, b.Sent)
	}
	// The connections that are stuck are not kept: another question comes through.
	c, n := newClient(t), 0
	defer c.close()
	a.lab.Eventually(20*time.Second, "an answer over another connection", func() bool {
		n++
		m, err := c.try(overTCP, a.s.DNS, (&question{name: wire(fmt.Sprintf("well-after%d.%s", n, dripZone)), class: 1, typ: 1, flags: flagRD}).message(uint16(n)), time.Second)
		return err == nil && m[3]&15 == 0 && m[7] == 1
	})
}

// compression asks for names whose resolver answers with what takes long to follow; and with such names.
func (a *attacked) compression(t *testing.T) {
	c := newClient(t)
	defer c.close()
	began, n := time.Now(), 0
	for ; time.Since(began) < attackTime(); n++ {
		kind := []string{"bomb", "long"}[n%2] // the longest that is a name, and one that is none
		m := c.ask(overUDP, a.s.DNS, (&question{name: wire(fmt.Sprintf("%s-%04d.%s", kind, n, dripZone)), class: 1, typ: 1, flags: flagRD}).message(uint16(n)))
		if rcode := byte(2 - 2*(n%2)); len(m) < 12 || m[3]&15 != rcode {
			t.Fatalf("%s %d: %x", kind, n, m)
		}
	}
	t.Logf("%d messages of 64 KB, %s each", n, time.Since(began)/time.Duration(n))
	// A question that is a chain, as long as a message over TCP can be.
	q := []byte{0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for at := 12; len(q) < 60_000; at += 2 {
		q = append(q, 0xc0|byte((at+2)>>8), byte(at+2))
	}
	for range 20 {
		if m := c.ask(overTCP, a.at(overTCP), q); m != nil && m[3]&15 != 1 {
			t.Errorf("a chain of pointers: %x", m)
		}
	}
}
