package radiusfront

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sereno/proxy/pool"
	"sereno/proxy/radiusfront/spool"
	"sereno/proxy/radwire"
)

const (
	// deliverRate is the most records that are delivered in a second, so that
	// live traffic keeps its share.
	deliverRate = 8000
	// deliverWindow is how many records of one pool may be on their way at once:
	// half of what the socket buffer of a FreeRADIUS at the system's default holds.
	deliverWindow = 128
	// firstWindow is where it begins; each answer widens it, silence halves it.
	firstWindow = 8
	// deliverTick is how often time passes for the deliverer, and restTick when it has
	// nothing to deliver: a record that comes wakes it.
	deliverTick = 10 * time.Millisecond
	restTick    = 500 * time.Millisecond
	// resendSpooled is the time between two copies of a record, and deliverSends
	// how many byte-identical ones there are before it gets a new identifier and
	// delay (R42).
	resendSpooled = int64(2 * time.Second)
	deliverSends  = 3
	// canaryInterval is how often one record is tried while no backend of a pool
	// is expected to answer: with acct_probe none only traffic finds out.
	canaryInterval = int64(5 * time.Second)
	// A record is set aside after asideTries rounds over asideTime, if its pool
	// acknowledged others within asideProof (R41).
	asideTries = 10
	asideTime  = 10 * time.Minute
	asideProof = int64(time.Minute)
	// longestPause is the longest time between two rounds of one record.
	longestPause = time.Minute
)

// deliverer brings spooled records to the backends: one goroutine that sends,
// and one for each of its sockets that reads. It has sockets and secrets of its
// own, so that the workers never wait for it.
type deliverer struct {
	service *Service
	spool   *spool.Spool
	logger  *zap.Logger
	base    time.Time
	more    chan struct{} // there is room again
	resent  [NumResends]atomic.Uint64

	view atomic.Pointer[view] // read with mu held

	mu       sync.Mutex // held while the disk is read
	outlets  map[*pool.Backend]*outlet
	shipping map[*shipment]struct{}
	tried    map[uint64]*pool.Tried // of records that a round failed for
	proofs   map[uint32]int64       // by queue: when its pool last acknowledged a record
	canaries map[uint32]int64       // by queue: when one was last sent
	paces    map[uint32]*pace       // by queue: a pool that is silent holds up no other
	tokens   float64
	filled   time.Time // real time: it bounds real packets
	ix       radwire.Index
	rix      radwire.Index
	closed   bool
	readers  sync.WaitGroup
	rate     rate
	rateMu   sync.Mutex // of rate: Stats does not wait for who sends

	shippingNow *spool.Delivery // at hand, for when it makes us panic

	reports []report
	replied []*pool.Backend
}

// pace is how many records of one queue are and may be on their way.
type pace struct {
	shipping, window int
	halved           int64 // when the window was last
}

// shipment is one record on its way, under one identifier.
type shipment struct {
	delivery *spool.Delivery
	queue    uint32
	out      *outSocket
	backend  *pool.Backend
	id       byte
	auth     radwire.Authenticator
	secret   *radwire.Secret
	raw      []byte
	first    int64
	last     int64
	sends    int
	canary   bool
}

func newDeliverer(s *Service, sp *spool.Spool, v *view) *deliverer {
	d := &deliverer{
		service: s, spool: sp, logger: s.logger, base: s.base, more: make(chan struct{}, 1),
		outlets: map[*pool.Backend]*outlet{}, shipping: map[*shipment]struct{}{}, tried: map[uint64]*pool.Tried{},
		proofs: map[uint32]int64{}, canaries: map[uint32]int64{}, paces: map[uint32]*pace{}, filled: time.Now(),
	}
	d.view.Store(v)
	return d
}

func (d *deliverer) now() int64 { return int64(d.service.now().Sub(d.base)) }

// run delivers until the service is closed.
func (d *deliverer) run() {
	t := time.NewTicker(deliverTick)
	defer t.Stop()
	every := deliverTick
	for {
		select {
		case <-d.service.stop:
			d.end()
			return
		case <-d.spool.Ready():
		case <-d.more:
		case <-t.C:
		}
		want := restTick
		if d.step() {
			want = deliverTick
		}
		if want != every {
			every = want
			t.Reset(every)
		}
		d.rateMu.Lock()
		d.rate.sample(time.Now(), d.spool.Delivered())
		d.rateMu.Unlock()
	}
}

// end closes the sockets. What was on its way is still in the spool.
func (d *deliverer) end() {
	d.mu.Lock()
	d.closed = true
	for s := range d.shipping {
		s.backend.Done()
	}
	clear(d.shipping)
	for _, o := range d.outlets {
		o.close()
	}
	d.mu.Unlock()
	d.readers.Wait()
}

// adopt puts another configuration in place. What is on its way ends with what
// it began with. It waits for nothing: the disk may hang.
func (d *deliverer) adopt(v *view) { d.view.Store(v) }

// step lets time pass and sends what may go; it tells whether there is anything to
// deliver. Health is told after mu is released: it may call back into who asks for Stats.
func (d *deliverer) step() (busy bool) {
	busy = true // also after a panic
	d.mu.Lock()
	defer d.settled()
	now := d.now()
	d.refill(time.Now())
	for s := range d.shipping {
		if now-s.last >= resendSpooled {
			d.overdue(s, now)
		}
	}
	queues := d.spool.Queues()
	for _, q := range queues {
		d.fill(q.ID, now)
	}
	d.prune(now)
	return len(queues)+len(d.shipping) > 0
}

// settled ends what was done with mu held. A record that made us panic is set
// aside; it is deferred as it is, so that it can recover.
func (d *deliverer) settled() {
	if fault := recover(); fault != nil {
		d.service.faults.Caught(fault, nil)
		if v := d.shippingNow; v != nil {
			d.spool.SetAside(v)
		}
	}
	d.shippingNow = nil
	d.unlock()
}

// unlock releases mu and tells health.
func (d *deliverer) unlock() {
	reports, replied := d.reports, d.replied
	d.reports, d.replied = nil, nil
	d.mu.Unlock()
	for _, r := range reports {
		if r.err != nil {
			r.backend.Unreachable(r.err)
		} else {
			r.backend.Silent()
		}
	}
	for _, b := range replied {
		b.Health().Replied()
	}
}

// refill adds what deliverRate allows since the last time.
func (d *deliverer) refill(now time.Time) {
	d.tokens = min(d.tokens+now.Sub(d.filled).Seconds()*deliverRate, deliverRate/20)
	d.filled = now
}

// fill sends records of one queue as long as there is room.
func (d *deliverer) fill(queue uint32, now int64) {
	t := d.target(queue)
	if t == nil {
		return // the service does no accounting any more
	}
	pl := t.roles[KindAcct]
	canary := !reachable(pl)
	if last, sent := d.canaries[queue]; canary && sent && now-last < canaryInterval {
		return
	}
	for p := d.pace(queue); p.shipping < p.window && d.tokens >= 1; {
		v, ok := d.spool.Next(queue)
		if !ok {
			return
		}
		d.shippingNow = v
		if canary {
			d.canaries[queue] = now
		}
		went := d.ship(v, queue, t, pl, canary, now)
		d.shippingNow = nil
		if !went || canary {
			return
		}
	}
}

// pace finds or makes that of a queue. There are no more of them than pools were ever configured.
func (d *deliverer) pace(queue uint32) *pace {
	if d.paces[queue] == nil {
		d.paces[queue] = &pace{window: firstWindow}
	}
	return d.paces[queue]
}

// target is the pool that a queue's records go to: of the same name, or, when
// the configuration has it no more, the service's own.
func (d *deliverer) target(queue uint32) *target {
	v := d.view.Load()
	for _, t := range v.targets {
		if queueOf(t.name) == queue && t.roles[KindAcct] != nil {
			return t
		}
	}
	if v.fallback.roles[KindAcct] != nil {
		return v.fallback
	}
	return nil
}

// ship sends one record for the first time in this round. It returns false when
// nothing can be sent now.
func (d *deliverer) ship(v *spool.Delivery, queue uint32, t *target, pl *pool.Pool, canary bool, now int64) bool {
	b := d.pick(v, pl)
	if b == nil {
		d.spool.Again(v, time.Second, false)
		return false
	}
	s := &shipment{delivery: v, queue: queue, backend: b, first: now, last: now, sends: 1, canary: canary}
	if err := d.load(s, t, now); err != nil {
		b.Done()
		d.failed(v, err)
		return true
	}
	if s.out == nil {
		b.Done()
		d.spool.Again(v, time.Second, false)
		return false
	}
	if v.Sent {
		d.resent[ResendAnew].Add(1)
	}
	v.Sent = true
	d.tokens--
	d.shipping[s] = struct{}{}
	d.pace(queue).shipping++
	d.send(s)
	return true
}

// pick chooses a backend, another one than those that this record failed at as
// long as there are others.
func (d *deliverer) pick(v *spool.Delivery, pl *pool.Pool) *pool.Backend {
	tried := d.tried[v.ID]
	if tried == nil {
		return pl.Pick(v.Session, nil)
	}
	if b := pl.Pick(v.Session, tried); b != nil {
		return b
	}
	*tried = pool.Tried{}
	return pl.Pick(v.Session, tried)
}

// failed deals with a record that cannot be sent at all, which only damage or a
// packet without room explains.
func (d *deliverer) failed(v *spool.Delivery, err error) {
	d.service.repeats.Line(zap.ErrorLevel, "a spooled accounting record is set aside").
		Say(func() []zap.Field { return []zap.Field{zap.Uint64("record", v.ID), zap.Error(err)} })
	d.spool.SetAside(v)
}

// load builds the packet: the record as it came, with Acct-Delay-Time raised by
// the seconds that it waited, under a new identifier and authenticator (R42).
func (d *deliverer) load(s *shipment, t *target, now int64) error {
	rec, err := parseParcel(s.delivery.Data)
	if err != nil {
		return err
	}
	p, err := radwire.Walk(rec.packet, &d.ix)
	if err != nil {
		return err
	}
	waited := uint32(min(s.delivery.Waited/time.Second, time.Duration(^uint32(0))))
	p, err = radwire.Walk(delayed(make([]byte, 0, radwire.MaxLen), p, &d.ix, waited), &d.ix)
	if err != nil {
		return err
	}
	peer := t.backends[s.backend.Name()]
	if peer == nil {
		return nil // the pool is newer than the view: in a moment
	}
	s.secret = peer.secret
	r := radwire.RequestRewrite{From: d.secretOf(&rec, peer), To: peer.secret, UserName: rec.userName}
	out, id, err := d.outlet(s.backend).take(d, now)
	if err != nil {
		d.service.repeats.Line(zap.WarnLevel, "no socket for spooled accounting", zap.String("backend", s.backend.Name())).
			Say(func() []zap.Field { return []zap.Field{zap.Error(err)} })
		return nil
	}
	if out == nil {
		return nil
	}
	r.Identifier = id
	buf := make([]byte, radwire.MaxLen)
	n, err := radwire.RewriteRequest(buf, p, &d.ix, &r)
	if err != nil {
		return err
	}
	s.raw, s.id, s.out, s.auth = buf[:n], id, out, radwire.PacketAuthenticator(buf)
	out.slots[id].shipment = s
	return nil
}

// secretOf is what hidden attributes of a record are hidden with; where that is the NAS's
// secret, of an earlier version's record, and the client is gone, they go as they are.
func (d *deliverer) secretOf(rec *parcel, to *peer) *radwire.Secret {
	if key := d.service.seal.Load(); rec.sealed && key != nil {
		return radwire.NewSecret(*key)
	}
	if cl := d.view.Load().clients.lookup(rec.nas); cl != nil {
		return cl.secrets[cl.likely(rec.nas)]
	}
	return to.secret
}

func (d *deliverer) send(s *shipment) {
	if _, err := s.out.conn.Write(s.raw); err != nil && unreachable(err) {
		d.refused(s.backend, err)
	}
}

// overdue is called for a shipment whose last copy has waited long enough.
func (d *deliverer) overdue(s *shipment, now int64) {
	if d.spool.Cancelled(s.delivery) { // an answer to an earlier copy came late: one is enough (R42)
		d.land(s, now, true)
		delete(d.tried, s.delivery.ID)
		d.spool.Again(s.delivery, 0, false)
		return
	}
	s.backend.Fail(pool.Timeout)
	if s.sends == 1 {
		d.reports = append(d.reports, report{backend: s.backend.Health()})
	}
	if p := d.pace(s.queue); now-p.halved >= resendSpooled {
		p.halved, p.window = now, max(1, p.window/2)
	}
	if t := d.target(s.queue); s.sends < deliverSends && t != nil && reachable(t.roles[KindAcct]) {
		s.sends, s.last = s.sends+1, now
		d.resent[ResendSilent].Add(1)
		d.send(s)
		return
	}
	d.round(s, now)
}

// round ends a shipment that was not answered: the record comes up again later,
// under a new identifier, or is set aside.
func (d *deliverer) round(s *shipment, now int64) {
	d.land(s, now, true)
	v := s.delivery
	proof := d.proof(s.queue)
	proven := now-proof < asideProof && proof > 0
	if v.Tries+1 >= asideTries && v.Trying >= asideTime && proven {
		delete(d.tried, v.ID)
		d.service.repeats.Line(zap.ErrorLevel, "a spooled accounting record is set aside: no backend acknowledged it in ten tries, while they acknowledged others").
			Say(func() []zap.Field {
				return []zap.Field{zap.Uint64("record", v.ID), zap.String("last_backend", s.backend.Name())}
			})
		d.spool.SetAside(v)
		return
	}
	tried := d.tried[v.ID]
	if tried == nil {
		if len(d.tried) >= 4*deliverWindow {
			clear(d.tried) // only a preference
		}
		tried = &pool.Tried{}
		d.tried[v.ID] = tried
	}
	tried.Add(s.backend)
	pause := min(time.Second<<min(v.Tries, 6), longestPause)
	if s.canary {
		pause = time.Second
	}
	d.spool.Again(v, pause, !s.canary) // a canary that nobody was expected to answer says nothing about its record
}

// proof is when the pool of a queue last acknowledged a record, spooled or live; 0: never.
func (d *deliverer) proof(queue uint32) int64 {
	proof := d.proofs[queue]
	if t := d.target(queue); t != nil {
		proof = max(proof, d.service.acks.of(t.name).Load())
	}
	return proof
}

// land takes a shipment off its identifier.
func (d *deliverer) land(s *shipment, now int64, rest bool) {
	slot := &s.out.slots[s.id]
	*slot = outSlot{}
	if rest {
		*slot = outSlot{until: now + restTime, auth: s.auth, secret: s.secret, ref: s.delivery.Ref()}
	}
	delete(d.shipping, s)
	d.pace(s.queue).shipping--
	s.backend.Done()
}

// received takes one datagram of a backend.
func (d *deliverer) received(o *outSocket, data []byte) {
	d.mu.Lock()
	defer func() {
		if fault := recover(); fault != nil {
			d.service.faults.Caught(fault, radwire.Mask(nil, data))
		}
		d.unlock()
	}()
	if d.closed {
		return
	}
	p, err := radwire.Walk(data, &d.rix)
	if err != nil {
		return
	}
	slot := &o.slots[p[1]]
	s, auth, secret := slot.shipment, slot.auth, slot.secret
	if s != nil {
		auth, secret = s.auth, s.secret
	}
	if secret == nil || !secret.VerifyResponse(p, &auth) || !radwire.AccountingRequest.Answers(radwire.PacketCode(p)) {
		o.outlet.backend.Fail(pool.BadReply)
		return
	}
	if off := d.rix.First[radwire.AttrMessageAuthenticator]; off != 0 && !secret.VerifyReplyMessageAuthenticator(p, off, &auth) {
		o.outlet.backend.Fail(pool.BadReply)
		return
	}
	now := d.now()
	d.replied = append(d.replied, o.outlet.backend)
	if s == nil {
		d.spool.Cancel(slot.ref) // late, but it has the record (R42)
		return
	}
	s.backend.Observe(time.Duration(now - s.first))
	d.proofs[s.queue] = now
	delete(d.canaries, s.queue)
	delete(d.tried, s.delivery.ID)
	d.land(s, now, s.sends > 1)
	d.spool.Done(s.delivery)
	open := d.pace(s.queue)
	open.window = min(open.window+1, deliverWindow)
	select {
	case d.more <- struct{}{}:
	default:
	}
}

// refused notes what the kernel says of a backend. What is on its way there is
// overdue in its time: which of it was refused the kernel does not say.
func (d *deliverer) refused(b *pool.Backend, err error) {
	b.Fail(pool.Unreachable)
	d.reports = append(d.reports, report{backend: b.Health(), err: err})
}
