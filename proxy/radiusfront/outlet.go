package radiusfront

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"sereno/proxy/pool"
	"sereno/proxy/radiusfront/spool"
	"sereno/proxy/radwire"
)

// maxOutSockets bounds the deliverer's sockets to one backend: with resting
// identifiers there is still one for each record of a full window.
const maxOutSockets = 8

// outlet is one backend as the deliverer sees it.
type outlet struct {
	backend *pool.Backend
	source  netip.Addr
	sockets []*outSocket
	turn    int
	looked  int64        // when the source was looked at last
	left    []*outSocket // with a source that is no more the system's choice, until no answer can come
}

// lookAgain is how often the system is asked which source it takes towards a
// backend, in nanoseconds.
const lookAgain = int64(time.Second)

// outSocket is one source port with its identifiers.
type outSocket struct {
	outlet *outlet
	conn   *net.UDPConn
	next   byte
	slots  [identifiers]outSlot
}

// outSlot is what an identifier stands for: a record on its way, or, as long as
// it rests, one that was given up or resent, whose answer may still come.
type outSlot struct {
	shipment *shipment
	until    int64
	auth     radwire.Authenticator
	secret   *radwire.Secret
	ref      spool.Ref
}

// outlet finds or makes a backend's outlet. mu is held.
func (d *deliverer) outlet(b *pool.Backend) *outlet {
	o := d.outlets[b]
	if o != nil && o.source != b.Source() && o.idle() {
		o.close()
		o = nil
	}
	if o == nil {
		o = &outlet{backend: b, source: b.Source()}
		d.outlets[b] = o
	}
	return o
}

// take finds an identifier; nil without an error when all are in use or rest.
// mu is held.
func (o *outlet) take(d *deliverer, now int64) (*outSocket, byte, error) {
	if !o.source.IsValid() && now-o.looked >= lookAgain {
		o.looked = now
		o.leave(sourceTo(o.backend.Addr()), now)
	}
	for range o.sockets {
		o.turn = (o.turn + 1) % len(o.sockets)
		s := o.sockets[o.turn]
		for range identifiers {
			s.next++
			if slot := &s.slots[s.next]; slot.shipment == nil && slot.until <= now {
				return s, s.next, nil
			}
		}
	}
	if len(o.sockets)+len(o.left) >= maxOutSockets {
		return nil, 0, nil
	}
	conn, err := o.dial()
	if err != nil {
		return nil, 0, err
	}
	s := &outSocket{outlet: o, conn: conn}
	o.sockets = append(o.sockets, s)
	d.readers.Go(func() { d.read(s) })
	return s, s.next, nil
}

func (o *outlet) dial() (*net.UDPConn, error) {
	var from *net.UDPAddr
	if o.source.IsValid() {
		from = net.UDPAddrFromAddrPort(netip.AddrPortFrom(o.source, 0))
	}
	return net.DialUDP("udp", from, net.UDPAddrFromAddrPort(o.backend.Addr()))
}

// leave takes no more records to sockets that have another source than this
// (sourceTo). Not valid: there is no way at all, and what there is may be right
// once there is one again.
func (o *outlet) leave(source netip.Addr, now int64) {
	o.left = slices.DeleteFunc(o.left, func(s *outSocket) bool {
		over := !slices.ContainsFunc(s.slots[:], func(slot outSlot) bool { return slot.shipment != nil || slot.until > now })
		if over {
			_ = s.conn.Close() // being given up: nothing to do about an error
		}
		return over
	})
	o.sockets = slices.DeleteFunc(o.sockets, func(s *outSocket) bool {
		stale := source.IsValid() && plain(s.conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()) != source
		if stale {
			o.left = append(o.left, s)
		}
		return stale
	})
}

// read takes a socket's datagrams until it is closed.
func (d *deliverer) read(s *outSocket) {
	buf := make([]byte, maxPacket)
	for {
		n, err := s.conn.Read(buf)
		switch {
		case err == nil:
			d.received(s, buf[:n])
		case errors.Is(err, net.ErrClosed):
			return
		case unreachable(err):
			d.mu.Lock()
			d.refused(s.outlet.backend, err)
			d.unlock()
		}
	}
}

func (o *outlet) idle() bool {
	for _, s := range o.all() {
		for i := range s.slots {
			if s.slots[i].shipment != nil {
				return false
			}
		}
	}
	return true
}

// all are its sockets, also those that get no more records.
func (o *outlet) all() []*outSocket { return append(slices.Clone(o.sockets), o.left...) }

func (o *outlet) close() {
	for _, s := range o.all() {
		_ = s.conn.Close() // being given up: nothing to do about an error
	}
	o.sockets, o.left = nil, nil
}

// prune closes the outlets once nothing is left to deliver and no late answer
// can come any more. mu is held.
func (d *deliverer) prune(now int64) {
	if len(d.outlets) == 0 || len(d.shipping) > 0 || len(d.spool.Queues()) > 0 {
		return
	}
	for b, o := range d.outlets {
		resting := false
		for _, s := range o.all() {
			for i := range s.slots {
				resting = resting || s.slots[i].until > now
			}
		}
		if !resting {
			o.close()
			delete(d.outlets, b)
		}
	}
}
