package drive

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"sereno/bench/load"
)

// Protocol makes requests, judges replies and is the backend. Its methods are called by one goroutine.
type Protocol interface {
	// Request appends request n with that identifier; place is free to remember something by until the reply.
	Request(dst []byte, n uint64, id uint16, place int) []byte
	// Identifier finds a reply's identifier.
	Identifier(reply []byte) (uint16, bool)
	// Check tells what is wrong with the reply to request n, "" if nothing is.
	Check(reply []byte, n uint64, id uint16, place int) string
	// Identifiers is how many there are for each socket, a power of two.
	Identifiers() int
}

// Config says what is asked. Zero fields take their defaults.
type Config struct {
	Protocol Protocol
	Target   netip.AddrPort
	Core     int // that the thread is pinned to; -1: to none
	Sockets  int // source ports; 32
	Window   int // closed loop: requests always under way; 512
	Rate     float64
	Warmup   time.Duration // before anything counts; 500 ms
	For      time.Duration // 2 s
	Limit    uint64        // requests in all; 0: as many as For lets
	Patience time.Duration // without an answer by then a request is lost; 1 s
	// Resend sends what is unanswered again after each such time, the same octets from the same port, as a NAS does; 0: never.
	Resend   time.Duration
	Backends []*Backend
	// Midway, if not nil, is called once, a third of For after Begin.
	Midway func()
	// Slow is the latency from which on whoever asked has noticed something; 0: Trouble and Recovered are not kept.
	Slow time.Duration
	// Begin and End are called when counting begins and ends, by the driving goroutine.
	Begin, End func()
}

// Result is what was counted between Begin and End.
type Result struct {
	Sent, Answered, Wrong, Lost, Late uint64
	Resent                            uint64 // requests that were sent more than once
	Asked                             uint64 // what came to the backends between Begin and End
	Elapsed                           time.Duration
	Latency                           load.Histogram
	Slowest                           time.Duration // with those that were under way at End
	Unfit                             uint64        // answers that Latency lacks, since the driver stood still meanwhile
	Faulty                            string        // the first wrong reply

	// Trouble is, for each TroubleStep since Midway, how many of the requests that were due then were lost, wrong, sent again
	// or answered slowly; Recovered when the last of them was due.
	Trouble   []uint32
	Recovered time.Duration
}

// TroubleStep is what one element of Result.Trouble spans.
const TroubleStep = 100 * time.Millisecond

// slot is one identifier of one socket.
type slot struct {
	n       uint64
	at      int64 // ns, when it was due or sent
	again   int64 // ns, when it is sent again
	waiting bool
	resent  bool
}

type driver struct {
	cfg      Config
	p        Protocol
	ids      int
	fds      []int
	slots    [][]slot // by socket, identifier
	heads    []uint64 // by socket: how many identifiers were used; the next one is that modulo ids
	tails    []uint64 // by socket: what was sent before has been answered or lost
	flying   []int    // by socket
	next     uint64
	begin    time.Time
	in       *inbox
	out      *outbox
	r        Result
	turn     int // socket that sends next, open loop
	counting bool
	broken   int64 // ns, when Midway was; 0: not yet
	stood    int64 // ns, until when the driver last stood still
	err      error
}

// Run drives until ctx ends or For has passed.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if cfg.Sockets == 0 {
		cfg.Sockets = 32
	}
	if cfg.Window == 0 {
		cfg.Window = 512
	}
	if cfg.Warmup == 0 {
		cfg.Warmup = 500 * time.Millisecond
	}
	if cfg.Patience == 0 {
		cfg.Patience = time.Second
	}
	if cfg.For == 0 {
		cfg.For = 2 * time.Second
	}
	d := &driver{cfg: cfg, p: cfg.Protocol, ids: cfg.Protocol.Identifiers(), in: newInbox(), out: newOutbox(false)}
	defer d.close()
	if err := d.open(); err != nil {
		return Result{}, err
	}
	done := make(chan error, 1)
	go func() {
		// Not unlocked: the thread ends with the goroutine, pinned as it is.
		runtime.LockOSThread()
		if cfg.Core >= 0 {
			if err := pin(cfg.Core); err != nil {
				done <- err
				return
			}
		}
		done <- d.run(ctx)
	}()
	err := <-done
	return d.r, err
}

func (d *driver) open() error {
	for range d.cfg.Sockets {
		fd, err := open(netip.AddrPort{}, d.cfg.Target)
		if err != nil {
			return err
		}
		d.fds = append(d.fds, fd)
		d.slots = append(d.slots, make([]slot, d.ids))
	}
	n := d.cfg.Sockets
	d.heads, d.tails, d.flying = make([]uint64, n), make([]uint64, n), make([]int, n)
	return nil
}

func (d *driver) close() {
	for _, fd := range d.fds {
		_ = unix.Close(fd)
	}
}

func (d *driver) now() int64 { return int64(time.Since(d.begin)) }

// run is the loop. It ends when what was under way at the end was answered or lost.
func (d *driver) run(ctx context.Context) error {
	for _, b := range d.cfg.Backends {
		b.mu.Lock()
		defer b.mu.Unlock()
	}
	d.begin = time.Now()
	begin, midway, end := int64(d.cfg.Warmup), int64(d.cfg.Warmup+d.cfg.For/3), int64(d.cfg.Warmup+d.cfg.For)
	var began int64
	for looked, now, last := int64(0), int64(0), int64(0); ; last, now = now, d.now() {
		if d.cfg.Rate > 0 && now-last > int64(standing) {
			d.stood = now
		}
		switch {
		case !d.counting && now >= begin:
			d.counting, began = true, now
			d.r = Result{Asked: -d.asked()}
			if d.cfg.Begin != nil {
				d.cfg.Begin()
			}
		case now >= end || ctx.Err() != nil || d.cfg.Limit > 0 && d.next >= d.cfg.Limit:
			d.r.Elapsed = time.Duration(now - began)
			d.r.Asked += d.asked()
			if d.cfg.End != nil {
				d.cfg.End()
			}
			d.settle(now)
			return errors.Join(ctx.Err(), d.err)
		}
		if d.cfg.Midway != nil && now >= midway {
			d.cfg.Midway()
			d.cfg.Midway, d.broken = nil, now
		}
		if now-looked > int64(lookEvery) {
			looked = now
			d.forget(now)
		}
		d.ask(now)
		d.serve()
		d.listen()
	}
}

// standing is how long a turn of the open loop never takes, unless the machine gives its core to somebody else. The driver
// waits for no server: what was under way meanwhile says nothing about one.
const standing = 500 * time.Microsecond

// lookEvery is how often what was waited for too long is looked for.
const lookEvery = 10 * time.Millisecond

// asked is how much has come to the backends.
func (d *driver) asked() (n uint64) {
	for _, b := range d.cfg.Backends {
		n += b.asked
	}
	return n
}

// settle waits for what is under way, so that it disturbs no other run; what does not come counts as lost.
func (d *driver) settle(now int64) {
	d.counting = false
	r := d.r
	for until := now + int64(d.cfg.Patience); d.underWay() && now < until; now = d.now() {
		d.serve()
		d.listen()
		d.forget(now)
	}
	for s := range d.slots {
		for i := range d.slots[s] {
			if sl := &d.slots[s][i]; sl.waiting {
				d.lose(s, sl)
			}
		}
	}
	r.Lost, r.Wrong, r.Resent, r.Faulty, r.Slowest = d.r.Lost, d.r.Wrong, d.r.Resent, d.r.Faulty, d.r.Slowest
	r.Trouble, r.Recovered = d.r.Trouble, d.r.Recovered
	d.r = r
}

func (d *driver) underWay() bool {
	for _, n := range d.flying {
		if n > 0 {
			return true
		}
	}
	return false
}

// ask sends what is due.
func (d *driver) ask(now int64) {
	if d.cfg.Rate > 0 {
		d.askByClock(now)
		return
	}
	each := max(1, d.cfg.Window/d.cfg.Sockets)
	for s := range d.fds {
		// Half a share at once: batches of a size that a busy server's own clients would make.
		if d.flying[s] > each/2 {
			continue
		}
		for d.flying[s] < each && d.out.n < batch && d.request(s, now) {
		}
		d.flush(s)
	}
}

// askByClock sends what is due since the last time, from one socket after the other.
func (d *driver) askByClock(now int64) {
	step := 1e9 / d.cfg.Rate
	for n := 0; n < batch; n++ {
		due := int64(float64(d.next) * step)
		if due > now {
			break
		}
		s := d.turn
		d.turn = (d.turn + 1) % len(d.fds)
		if !d.request(s, due) {
			d.next++ // every identifier is taken: it is lost before it is sent
			d.r.Sent++
			d.r.Lost++
			continue
		}
		d.flush(s)
	}
}

func (d *driver) flush(s int) {
	if err := d.out.send(d.fds[s]); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
		d.err = fmt.Errorf("sending: %w", err)
	}
}

// request puts the next request into the batch of socket s.
func (d *driver) request(s int, at int64) bool {
	id := uint16(d.heads[s] & uint64(d.ids-1)) //nolint:gosec // a power of two up to 2^16
	sl := &d.slots[s][id]
	if sl.waiting || d.cfg.Limit > 0 && d.next >= d.cfg.Limit {
		return false
	}
	d.heads[s]++
	*sl = slot{n: d.next, at: at, again: at + int64(d.cfg.Resend), waiting: true}
	d.next++
	d.flying[s]++
	d.r.Sent++
	d.out.commit(len(d.p.Request(d.out.next(), sl.n, id, s*d.ids+int(id))), nil)
	return true
}

// serve is the backends.
func (d *driver) serve() {
	for _, b := range d.cfg.Backends {
		b.serve()
	}
}

// listen takes the replies.
func (d *driver) listen() {
	for s, fd := range d.fds {
		if d.flying[s] == 0 {
			continue
		}
		n, err := d.in.receive(fd)
		if n == 0 || err != nil {
			continue
		}
		now := d.now()
		for i := range n {
			d.reply(s, d.in.data(i), now)
		}
	}
}

func (d *driver) reply(s int, b []byte, now int64) {
	id, ok := d.p.Identifier(b)
	if !ok || int(id) >= d.ids {
		d.wrong("no reply: %x", b)
		return
	}
	sl := &d.slots[s][id]
	if !sl.waiting {
		d.r.Late++
		return
	}
	sl.waiting = false
	d.flying[s]--
	if why := d.p.Check(b, sl.n, id, s*d.ids+int(id)); why != "" {
		d.wrong("%s: %x", why, b)
		d.noticed(sl)
		return
	}
	d.r.Answered++
	d.r.Slowest = max(d.r.Slowest, time.Duration(now-sl.at))
	if sl.at < d.stood {
		d.r.Unfit++
	} else {
		d.r.Latency.Add(time.Duration(now - sl.at))
	}
	if sl.resent || now-sl.at > int64(d.cfg.Slow) {
		d.noticed(sl)
	}
}

// noticed keeps that whoever asked this has had trouble since Midway.
func (d *driver) noticed(sl *slot) {
	if d.broken == 0 || d.cfg.Slow == 0 {
		return
	}
	since := max(time.Duration(sl.at-d.broken), 0) // what was under way belongs to the first step
	d.r.Recovered = max(d.r.Recovered, since)
	k := int(since / TroubleStep)
	for len(d.r.Trouble) <= k {
		d.r.Trouble = append(d.r.Trouble, 0)
	}
	d.r.Trouble[k]++
}

func (d *driver) wrong(format string, args ...any) {
	d.r.Wrong++
	if d.r.Faulty == "" {
		d.r.Faulty = fmt.Sprintf(format, args...)
	}
}

// forget gives up what was waited for too long, and sends again what is to be. Each socket's requests lie in the order
// of their times from its tail to its head.
func (d *driver) forget(now int64) {
	for s := range d.slots {
		for n := d.tails[s]; n < d.heads[s]; n++ {
			id := n & uint64(d.ids-1)
			sl := &d.slots[s][id]
			switch {
			case !sl.waiting:
			case now-sl.at > int64(d.cfg.Patience):
				d.lose(s, sl)
			case d.cfg.Resend > 0 && now >= sl.again:
				d.again(s, sl, uint16(id)) //nolint:gosec // below ids
			}
			if !sl.waiting && n == d.tails[s] {
				d.tails[s]++
			}
			if d.out.n == batch {
				d.flush(s)
			}
		}
		d.flush(s)
	}
}

func (d *driver) lose(s int, sl *slot) {
	sl.waiting = false
	d.flying[s]--
	d.r.Lost++
	d.noticed(sl)
}

// again puts a request into the batch once more.
func (d *driver) again(s int, sl *slot, id uint16) {
	if !sl.resent {
		sl.resent = true
		d.r.Resent++
	}
	sl.again += int64(d.cfg.Resend)
	d.out.commit(len(d.p.Request(d.out.next(), sl.n, id, s*d.ids+int(id))), nil)
}
