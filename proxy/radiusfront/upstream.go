package radiusfront

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"sereno/proxy/pool"
	"sereno/proxy/radiusfront/spool"
	"sereno/proxy/radwire"
	"sereno/proxy/udp"
)

const (
	identifiers = 256 // of one source port (RFC 2865 section 3)
	// maxPorts bounds the source ports of one worker to one backend in one
	// role: 65,536 requests in flight or resting.
	maxPorts = 256
	// restTime is how long the identifier of a request that was given up rests:
	// after it no late reply is on its way any more (the MRD of RFC 5080
	// section 2.2.1).
	restTime = int64(30 * time.Second)
	// firstPorts are opened at once, so that a backend with several threads
	// sees several sources from the start.
	firstPorts = 2
)

// upstream is one backend in one role, or one NAS that gets CoA, as one worker
// sees it: its secret and the source ports and identifiers that belong to it
// alone (R22).
type upstream struct {
	name     string
	addr     netip.AddrPort
	source   netip.Addr // to send from; zero: the kernel's choice
	pool     string
	backend  *pool.Backend // nil: a NAS
	kind     Kind
	secret   *radwire.Secret
	posture  posture
	ports    []*port
	left     []*port // strayed: they take nothing new
	inTurn   int     // how many ports take turns; the others are left from a peak
	need     int     // how many identifiers were taken at a time lately
	turn     int     // the port that was used last
	turned   int64   // worker time of the batch in which it came to be its turn
	rest     restQueue
	waits    restQueue     // resting ones that attempt_timeout has not passed for yet
	inUse    int           // identifiers with a request
	replied  bool          // a valid reply came since the last report to health
	took     int64         // how long the quickest of them took, ns
	signs    *atomic.Bool  // a reply with a valid Message-Authenticator has been seen (R13)
	unsigned uint64        // replies to Access-Requests that were used without one
	acked    *atomic.Int64 // of accounting: when the pool last acknowledged a record
	used     int64         // worker time of the last request to a NAS
	silence  bool          // a request was not answered since sweep looked at the ports
	gone     bool          // not in the configuration any more: closed when nothing is in use
	replies  [NumReplyReasons]uint64
}

// port is one source port.
type port struct {
	up      *upstream
	conn    *udp.Conn
	slots   [identifiers]slot
	free    [identifiers]byte // ring: the identifier that has been free longest comes first
	head    uint8
	n       int
	resting [identifiers / 64]uint64
	late    [identifiers]left // of resting identifiers
}

// left is an attempt whose request is over, as long as its identifier rests:
// its reply is not used any more, but still tells that the backend lives.
type left struct {
	auth    radwire.Authenticator
	secret  *radwire.Secret
	code    radwire.Code
	sent    int64
	waiting bool // no reply came, and attempt_timeout has not passed
	spooled spool.Ref
	login   survivorKey // of survival; zero: none
}

// slot is what an identifier stands for.
type slot struct {
	f *flight // nil: free or resting
	i int     // of its attempts
}

// restQueue holds resting identifiers; they all rest equally long, so the
// first in is the first out.
type restQueue struct {
	items []resting // ring
	head  int
	n     int
}

type resting struct {
	port  *port
	id    byte
	until int64
}

func (q *restQueue) push(r resting) {
	if q.n == len(q.items) {
		items := make([]resting, max(64, 2*len(q.items)))
		for i := range q.n {
			items[i] = q.items[(q.head+i)%len(q.items)]
		}
		q.items, q.head = items, 0
	}
	q.items[(q.head+q.n)%len(q.items)] = r
	q.n++
}

func (q *restQueue) pop() resting {
	r := q.items[q.head]
	q.items[q.head] = resting{}
	q.head = (q.head + 1) % len(q.items)
	q.n--
	return r
}

func newPort(up *upstream) *port {
	p := &port{up: up, n: identifiers}
	for i := range p.free {
		p.free[i] = byte(i)
	}
	return p
}

func (p *port) take() byte {
	id := p.free[p.head]
	p.head++
	p.n--
	return id
}

func (p *port) give(id byte) {
	p.free[uint8(int(p.head)+p.n)] = id
	p.n++
}

func (p *port) rests(id byte) bool { return p.resting[id/64]&(1<<(id%64)) != 0 }
func (p *port) setRest(id byte)    { p.resting[id/64] |= 1 << (id % 64) }
func (p *port) clearRest(id byte)  { p.resting[id/64] &^= 1 << (id % 64) }

// upstream finds or makes the worker's side of a backend; nil if the
// configuration that the worker has does not know it (yet).
func (w *worker) upstream(b *pool.Backend, t *target, k Kind) *upstream {
	if up := w.upstreams[b]; up != nil {
		return up
	}
	if is := w.view.byPool[t.name]; is != nil {
		t = is // the request's own may be of before a reload
	}
	peer := t.backends[b.Name()]
	if peer == nil {
		return nil
	}
	up := &upstream{name: b.Name(), addr: b.Addr(), source: b.Source(), pool: t.name, backend: b, kind: k, secret: peer.secret, posture: peer.posture,
		signs: w.service.learnt.backend(backendKey{t.name, b.Name(), k.String()})}
	if k == KindAcct {
		up.acked = w.service.acks.of(t.name)
	}
	w.upstreams[b] = up
	return up
}

// take finds an identifier: open ports take turns, one for each batch, so that
// its packets can leave as one message; then comes one that a peak has left, and
// then a new one. It fails when the bound is reached or the system has no more
// sockets.
func (up *upstream) take(w *worker) (*port, byte, error) {
	up.wakeResting(w.now)
	if up.turned != w.now {
		up.turned = w.now
		up.turn++
	}
	for range up.inTurn {
		if up.turn >= up.inTurn {
			up.turn = 0
		}
		if p := up.ports[up.turn]; p.n > 0 && len(up.ports) >= firstPorts {
			return p, p.take(), nil
		}
		up.turn++
	}
	for ; up.inTurn < len(up.ports); up.inTurn++ {
		if p := up.ports[up.inTurn]; p.n > 0 && len(up.ports) >= firstPorts {
			up.inTurn++
			return p, p.take(), nil
		}
	}
	if len(up.ports)+len(up.left) >= maxPorts {
		return nil, 0, fmt.Errorf("all %d identifiers to %s are in use", maxPorts*identifiers, up.name)
	}
	p := newPort(up)
	conn, err := w.group.Dial(up.addr, up.source, udp.ListenConfig{Tag: p, Segment: true})
	if err != nil {
		if len(up.ports) > 0 && up.ports[0].n > 0 {
			return up.ports[0], up.ports[0].take(), nil
		}
		return nil, 0, err
	}
	p.conn = conn
	up.ports = append(up.ports, p)
	up.inTurn = len(up.ports)
	return p, p.take(), nil
}

// tidy is called every sweepInterval.
func (up *upstream) tidy(now int64) {
	up.wakeResting(now)
	up.shrink()
	if up.silence || len(up.left) > 0 {
		up.silence = false
		up.leaveStrayed(plain(cmp.Or(up.source, sourceTo(up.addr))))
	}
}

// shrink lets ports go that a peak has left. After a peak fewer and fewer ports take turns, and those that do not are closed
// when all their identifiers have rested.
func (up *upstream) shrink() {
	up.need = max(up.inUse+up.rest.n, up.need-(up.need+7)/8)
	up.inTurn = min(len(up.ports), max(firstPorts, 2*up.need/identifiers+1))
	for i := len(up.ports) - 1; i >= up.inTurn; i-- {
		if p := up.ports[i]; p.n == identifiers {
			_ = p.conn.Close() // nothing waits on it
			up.ports = slices.Delete(up.ports, i, i+1)
		}
	}
}

// wakeResting returns the identifiers whose rest is over.
func (up *upstream) wakeResting(now int64) {
	for up.rest.n > 0 && up.rest.items[up.rest.head].until <= now {
		r := up.rest.pop()
		r.port.clearRest(r.id)
		r.port.give(r.id)
	}
}

// occupy puts an attempt on an identifier that take gave.
func (up *upstream) occupy(p *port, id byte, f *flight, i int) {
	p.slots[id] = slot{f: f, i: i}
	up.inUse++
}

// vacate takes the attempt off its identifier, which is free at once or, when
// a reply may still come, rests.
func (up *upstream) vacate(a *attempt, code radwire.Code, rest bool, now int64) {
	p, id := a.port, a.id
	p.slots[id] = slot{}
	up.inUse--
	if !rest {
		p.give(id)
		return
	}
	p.setRest(id)
	p.late[id] = left{auth: a.auth, secret: a.secret, code: code, sent: a.sent}
	up.rest.push(resting{port: p, id: id, until: now + restTime})
}

// await has the silence of an attempt that was left early noticed all the same:
// a NAS that retransmits sooner than attempt_timeout must not hide a backend
// that answers nobody (A04).
func (up *upstream) await(a *attempt, until int64) {
	a.port.late[a.id].waiting = true
	up.waits.push(resting{port: a.port, id: a.id, until: until})
}

// silent is the number of attempts that were left early and have by now waited
// attempt_timeout in vain.
func (up *upstream) silent(now int64) int {
	n := 0
	for up.waits.n > 0 && up.waits.items[up.waits.head].until <= now {
		r := up.waits.pop()
		if l := &r.port.late[r.id]; l.waiting && r.port.rests(r.id) {
			l.waiting = false
			n++
		}
	}
	return n
}

func (up *upstream) all() []*port { return slices.Concat(up.ports, up.left) }

// closePorts closes every source port.
func (up *upstream) closePorts() {
	for _, p := range up.all() {
		_ = p.conn.Close() // closing a socket that is being given up: nothing to do about an error
	}
	up.ports, up.left, up.inTurn = nil, nil, 0
}

// done gives the backend's in-flight slot back.
func (up *upstream) done() {
	if up.backend != nil {
		up.backend.Done()
	}
}

// fail counts a failure of the backend.
func (up *upstream) fail(f pool.Failure) {
	if up.backend != nil {
		up.backend.Fail(f)
	}
}
