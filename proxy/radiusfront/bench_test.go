package radiusfront

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"sereno/proxy/radwire"
	"sereno/proxy/udp"
)

// echo is a backend that accepts everything without allocating.
type echo struct{ server *server }

func newEcho(t testing.TB) *echo {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadBuffer(4 << 20)
	e := &echo{server: &server{t: t, conn: conn, key: backendSecret}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf, out := make([]byte, radwire.MaxLen), make([]byte, radwire.MaxLen)
		secret := radwire.NewSecret([]byte(backendSecret))
		var ix radwire.Index
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if m := acceptInto(out, buf[:n], &ix, secret); m > 0 {
				_, _ = conn.WriteToUDPAddrPort(out[:m], from)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return e
}

// acceptInto writes an Access-Accept to req.
func acceptInto(out, req []byte, ix *radwire.Index, secret *radwire.Secret) int {
	p, err := radwire.Walk(req, ix)
	if err != nil {
		return 0
	}
	n, err := radwire.Reply(out, radwire.AccessAccept, classAttr, p, ix, secret)
	if err != nil {
		return 0
	}
	return n
}

var classAttr = radwire.AppendAttribute(nil, radwire.AttrClass, []byte("0123456789abcdef"))

// generator is a NAS that sends signed PAP requests, a window at a time,
// without allocating.
type generator struct {
	t      testing.TB
	conn   *net.UDPConn
	secret *radwire.Secret
	req    []byte
	buf    []byte
	n      uint64
}

const window = 64 // requests that a generator has in flight

func newGenerator(t testing.TB, to netip.AddrPort) *generator {
	t.Helper()
	n := newNAS(t, to)
	_ = n.conn.SetReadBuffer(4 << 20)
	return &generator{t: t, conn: n.conn, secret: radwire.NewSecret([]byte(nasSecret)), buf: make([]byte, radwire.MaxLen),
		req: pap(t, 1, "alice@example.net", "password-of-a", avp(radwire.AttrCallingStationID, "00:11:22:33:44:55"), avp(radwire.AttrNASPortID, "ge-0/0/1.100:200"))}
}

// run sends n requests and waits for their answers.
func (g *generator) run(n int) {
	off := uint16(0)
	var ix radwire.Index
	if _, err := radwire.Walk(g.req, &ix); err != nil {
		g.t.Fatal(err)
	}
	off = ix.First[radwire.AttrMessageAuthenticator]
	_ = g.conn.SetReadDeadline(time.Now().Add(testTimeout))
	for sent := 0; sent < n; {
		burst := min(window, n-sent)
		for range burst {
			g.n++
			g.req[1] = byte(g.n)
			binary.LittleEndian.PutUint64(g.req[4:], g.n)
			auth := radwire.PacketAuthenticator(g.req)
			g.secret.SignMessageAuthenticator(g.req, off, &auth)
			if _, err := g.conn.Write(g.req); err != nil {
				g.t.Fatal(err)
			}
		}
		for range burst {
			if _, err := g.conn.Read(g.buf); err != nil {
				g.t.Fatalf("lost: %v", err)
			}
		}
		sent += burst
	}
}

// BenchmarkFront is one NAS and one backend of the test, through one worker:
// all three share the machine's cores.
func BenchmarkFront(b *testing.B) {
	for _, plain := range []bool{false, true} {
		name := "batched"
		if plain {
			name = "plain"
		}
		b.Run(name, func(b *testing.B) {
			backend := newEcho(b)
			f := newFront(b, setup{backends: []*server{backend.server}, plain: plain, options: func(o *Options) { o.Now = time.Now; o.MaxRemembered = 50000 }})
			g := newGenerator(b, f.authAddr())
			g.run(1000)
			b.ReportAllocs()
			b.ResetTimer()
			g.run(b.N)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "auth/s")
		})
	}
}

// BenchmarkWorker is what one transaction costs the worker itself: gates,
// verification, rewriting and signing both ways, tables and timers, without
// system calls.
func BenchmarkWorker(b *testing.B) {
	backend := newEcho(b)
	f := newFront(b, setup{backends: []*server{backend.server}, options: func(o *Options) { o.MaxRemembered = 50000 }})
	h := newHand(b, f, f.s.workers[0])
	req := pap(b, 1, "alice@example.net", "password-of-a", avp(radwire.AttrCallingStationID, "00:11:22:33:44:55"), avp(radwire.AttrNASPortID, "ge-0/0/1.100:200"))
	b.ReportAllocs()
	for b.Loop() {
		h.transaction(req)
	}
}

// hand drives a worker by hand, in the place of its group's loop.
type hand struct {
	t      testing.TB
	f      *front
	w      *worker
	l      *listener
	nas    *radwire.Secret
	server *radwire.Secret
	batch  []udp.Packet
	ix     radwire.Index
	n      uint64
	reply  []byte
	off    uint16
}

// newHand stops the service's loops, so that the worker is the caller's.
func newHand(t testing.TB, f *front, w *worker) *hand {
	t.Helper()
	group, err := udp.NewGroup(udp.GroupConfig{MaxPacket: maxPacket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = group.Close() })
	v, err := newView(&f.s.options, f.s.clients)
	if err != nil {
		t.Fatal(err)
	}
	own := newWorker(f.s, v)
	own.group = group
	l := &listener{addr: netip.MustParseAddrPort("127.77.0.1:0"), kind: KindAuth, code: radwire.AccessRequest}
	c, err := group.Listen(l.addr, udp.ListenConfig{Tag: l})
	if err != nil {
		t.Fatal(err)
	}
	l.conns = []*udp.Conn{c}
	return &hand{t: t, f: f, w: own, l: l, nas: radwire.NewSecret([]byte(nasSecret)), server: radwire.NewSecret([]byte(backendSecret)),
		batch: make([]udp.Packet, 1), reply: make([]byte, radwire.MaxLen)}
}

// transaction takes one request in, and the backend's reply to it.
func (h *hand) transaction(req []byte) {
	h.n++
	binary.LittleEndian.PutUint64(req[4:], h.n)
	req[1] = byte(h.n)
	if h.off == 0 {
		if _, err := radwire.Walk(req, &h.ix); err != nil {
			h.t.Fatal(err)
		}
		h.off = h.ix.First[radwire.AttrMessageAuthenticator]
	}
	auth := radwire.PacketAuthenticator(req)
	h.nas.SignMessageAuthenticator(req, h.off, &auth)
	h.batch[0] = udp.Packet{Data: req, Dest: udp.Dest{Peer: handPeer, Local: handPeer.Addr()}}
	h.w.Receive(h.l.conns[0], h.batch)
	// The request is queued on the port; its bytes are the attempt's.
	var a *attempt
	for _, up := range h.w.upstreams {
		for _, p := range up.ports {
			for id := range p.slots {
				if f := p.slots[id].f; f != nil {
					a = &f.attempts[p.slots[id].i]
				}
			}
		}
	}
	if a == nil {
		h.t.Fatalf("transaction %d: nothing was forwarded: drops %v", h.n, h.w.book.drops[KindAuth])
	}
	port := a.port
	out := h.reply[:radwire.HeaderLen]
	out = radwire.AppendAttribute(out, radwire.AttrMessageAuthenticator, handZeros)
	out = append(out, classAttr...)
	radwire.PutHeader(out, radwire.AccessAccept, a.id, len(out))
	h.server.SignMessageAuthenticator(out, radwire.HeaderLen, &a.auth)
	h.server.SignResponse(out, &a.auth)
	h.batch[0] = udp.Packet{Data: out}
	h.w.Receive(port.conn, h.batch)
	h.f.clock.advance(time.Millisecond)
	h.w.Flush()
}

var (
	handPeer  = netip.MustParseAddrPort("127.0.0.1:4000")
	handZeros = make([]byte, 16)
)
