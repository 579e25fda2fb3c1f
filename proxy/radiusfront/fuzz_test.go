package radiusfront

import (
	"net/netip"
	"testing"
	"time"

	"sereno/proxy/radwire"
	"sereno/proxy/udp"
)

// drive is a worker that a fuzz target feeds; its sockets are real, its loop
// does not run.
type drive struct {
	f         *front
	w         *worker
	listeners [3]*udp.Conn
	backend   *server
}

func fuzzHand(t *testing.T) *drive {
	t.Helper()
	d := &drive{backend: newServer(t, nil)}
	d.backend.quiet.Store(true)
	d.f = newFront(t, setup{backends: []*server{d.backend}, config: func(c *Config) {
		c.CoA = []string{"127.0.0.1:0"}
		c.Routes = []Route{{Realm: "y.net", Pool: "main", StripRealm: true}}
	}})
	v, err := newView(&d.f.s.options, d.f.s.clients)
	if err != nil {
		t.Fatal(err)
	}
	d.w = newWorker(d.f.s, v)
	if d.w.group, err = udp.NewGroup(udp.GroupConfig{MaxPacket: maxPacket}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.w.group.Close() })
	for k, code := range []radwire.Code{radwire.AccessRequest, radwire.AccountingRequest, radwire.CoARequest} {
		c, err := d.w.group.Listen(netip.MustParseAddrPort("127.77.0.1:0"), udp.ListenConfig{Tag: &listener{kind: Kind(k), code: code}})
		if err != nil {
			t.Fatal(err)
		}
		d.listeners[k] = c
	}
	return d
}

// feed gives one datagram to the worker: how's lowest bits say as what, the
// next whether it is signed first.
func (d *drive) feed(how byte, data []byte) {
	b := append([]byte(nil), data...)
	if how&4 != 0 {
		resign(b, how)
	}
	pkt := []udp.Packet{{Data: b, Dest: udp.Dest{Peer: handPeer, Local: handPeer.Addr()}}}
	if how&3 < 3 {
		d.w.Receive(d.listeners[how&3], pkt)
		return
	}
	// As a reply to a request that is in flight, whatever it is.
	req := signed(radwire.AccessRequest, 99, nasSecret, avp(1, "alice"))
	d.w.Receive(d.listeners[0], []udp.Packet{{Data: req, Dest: udp.Dest{Peer: handPeer, Local: handPeer.Addr()}}})
	for _, up := range d.w.upstreams {
		for _, p := range up.ports {
			for id := range p.slots {
				f := p.slots[id].f
				if f == nil || len(b) < radwire.HeaderLen {
					continue
				}
				if how&4 != 0 {
					b[1] = byte(id)
					var ix radwire.Index
					if w, err := radwire.Walk(b, &ix); err == nil {
						s, auth := radwire.NewSecret([]byte(backendSecret)), f.attempts[0].auth
						if off := ix.First[radwire.AttrMessageAuthenticator]; off != 0 {
							s.SignMessageAuthenticator(w, off, &auth)
						}
						s.SignResponse(w, &auth)
					}
				}
				d.w.Receive(p.conn, pkt)
				return
			}
		}
	}
}

// resign makes b verify as a request of a NAS or, for CoA, of a backend.
func resign(b []byte, how byte) {
	var ix radwire.Index
	p, err := radwire.Walk(b, &ix)
	if err != nil {
		return
	}
	s := radwire.NewSecret([]byte(nasSecret))
	if how&3 == byte(KindCoA) {
		s = radwire.NewSecret([]byte(backendSecret))
	}
	auth := radwire.MessageAuthOf(p)
	if off := ix.First[radwire.AttrMessageAuthenticator]; off != 0 {
		s.SignMessageAuthenticator(p, off, &auth)
	}
	if radwire.PacketCode(p) != radwire.AccessRequest && radwire.PacketCode(p) != radwire.StatusServer {
		s.SignRequest(p)
	}
}

// pass lets time go by.
func (d *drive) pass(ms uint16) {
	d.f.clock.advance(time.Duration(ms) * time.Millisecond)
	d.w.Flush()
}
