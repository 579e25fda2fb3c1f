package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Common is what DNS and RADIUS load have in common. Zero fields take their defaults.
type Common struct {
	Rate    float64       // requests a second
	MaxRate float64       // the highest that SetRate will ask for; Rate
	Window  int           // closed loop: as many requests wait at a time, and Rate is a ceiling (0: none); 0: open loop
	Limit   uint64        // requests in all; 0: until the context ends
	Timeout time.Duration // without a right answer by then a request is lost; 3 s (RADIUS 10 s)
	Resend  time.Duration // an unanswered request is sent again after each such time; 0: never
	Tries   int           // how often it is sent in all, with Resend; 3
	Sockets int           // source ports for each target, rounded up to a power of two; 32 (RADIUS: as the rate needs)
	Source  netip.Addr    // address to send from; default: the system's choice
	Sources []netip.Addr  // many of them, taken in turn by the sockets
	Grain   time.Duration // an open loop's requests are due in bursts that begin at multiples of it; 250 µs
	Workers int           // generators that share the work, each with its thread; 1
	Plain   bool          // one system call for each datagram
	NoCut   bool          // every datagram is a message of its own (neither UDP_SEGMENT nor UDP_GRO)
	// Within, if it is not nil, calls what opens a TCP connection, in another network namespace for example. Connections are
	// opened at any time, on goroutines of their own.
	Within func(open func() error) error
	// Anywhere lets targets be of other hosts. Whoever sets it has been told by the operator that they are his.
	Anywhere bool
	// Laboratory are targets besides this host's own addresses: those of bench/lab, which asks them inside its own
	// network namespaces. Only addresses for documentation (RFC 5737, RFC 3849) are taken.
	Laboratory []netip.Addr

	transport Transport
	tls       *tls.Config
}

const (
	// maxRate bounds Common.Rate.
	maxRate = 20e6
	// maxTries bounds Common.Tries.
	maxTries = 8
	// maxSockets bounds Common.Sockets.
	maxSockets = 1 << 14
	// maxWindow bounds Common.Window.
	maxWindow = 1 << 20
	// inRow is how many requests in a row leave by the same socket: they fill a batch.
	inRow = 16
	// maxNap is how long the generator sleeps at most.
	maxNap = time.Millisecond
	// maxFaulty bounds Books.Faulty.
	maxFaulty = 5
)

// protocol builds requests and checks replies. Its methods are called with the generator's lock held. slot is free for
// the protocol to remember something by: between build and the request's end no other request has it.
type protocol interface {
	kind(n uint64) int // which of a target's ports request n goes to
	build(dst []byte, n, slot uint64, id uint16) []byte
	replyID(reply []byte) (uint16, bool)
	check(reply []byte, n, slot uint64, id uint16) Fate
	explain(reply []byte, n, slot uint64, id uint16) string // why check did not find it right
	idBits() int
	final(f Fate) bool // whether a reply of that fate ends a request that has tries left
	answered(n uint64)
}

// state of a slot.
const (
	free uint8 = iota
	waiting
)

type slot struct {
	n     uint64
	due   time.Duration // since the generator's begin
	state uint8
}

// place tells a connection's target, kind and index.
type place struct{ target, kind, index int }

// generator sends by the clock and keeps the books. One goroutine does the work; mu is held while it sends and while it
// takes in replies, and while somebody looks or changes something.
type generator struct {
	common Common
	proto  protocol
	link   link
	places []place   // by connection
	conns  [][][]int // by target, kind, index
	slots  []slot
	begin  time.Time

	mu      sync.Mutex
	books   Books
	target  int // -1: nobody
	next    uint64
	ended   bool
	segment struct { // of constant rate, which began with request n
		n     uint64
		at    time.Duration
		rate  float64
		going bool
	}
	passed [maxTries]uint64 // [0]: requests before it are over; [k]: before it the kth resend was done
	first  time.Duration    // when the first request was due

	refusals atomic.Uint64
}

// newGenerator opens the sockets. targets[t][k] is where requests of kind k go to at target t.
func newGenerator(c Common, proto protocol, targets [][]netip.AddrPort) (*generator, error) {
	c.Grain = orDefault(c.Grain, 250*time.Microsecond)
	c.MaxRate = max(c.MaxRate, c.Rate)
	if err := c.validate(len(targets)); err != nil {
		return nil, err
	}
	c.Sockets = 1 << bits.Len(uint(max(c.Sockets, 1)-1))
	size := uint64(c.Sockets) << proto.idBits()
	enough := uint64(1) << bits.Len64(uint64(2*max(c.MaxRate, 1000)*c.Timeout.Seconds())+1024)
	if c.Window > 0 {
		enough = 1 << bits.Len(uint(64*c.Window+1024))
	}
	g := &generator{common: c, proto: proto, slots: make([]slot, min(size, enough)), begin: time.Now()}
	var ends []endpoint
	for t, kinds := range targets {
		byKind := make([][]int, len(kinds))
		for k, addr := range kinds {
			if !addr.IsValid() && k > 0 {
				continue
			}
			if err := c.checkTarget(addr); err != nil {
				return nil, err
			}
			for i := range c.Sockets {
				byKind[k] = append(byKind[k], len(ends))
				g.places = append(g.places, place{t, k, i})
				ends = append(ends, endpoint{addr, c.source(addr, len(ends))})
			}
		}
		g.conns = append(g.conns, byKind)
	}
	if err := g.open(ends); err != nil {
		return nil, fmt.Errorf("opening load generator: %w", err)
	}
	return g, nil
}

func (c *Common) validate(targets int) error {
	switch {
	case c.Rate < 0 || c.MaxRate > maxRate:
		return fmt.Errorf("rate %g: must be from 0 to %.0f a second", c.Rate, float64(maxRate))
	case c.Tries < 1 || c.Tries > maxTries:
		return fmt.Errorf("tries %d: must be from 1 to %d", c.Tries, maxTries)
	case c.Sockets < 0 || c.Sockets > maxSockets:
		return fmt.Errorf("sockets %d: must be from 1 to %d", c.Sockets, maxSockets)
	case c.Window < 0 || c.Window > maxWindow:
		return fmt.Errorf("window %d: must be from 0 to %d", c.Window, maxWindow)
	case c.Timeout <= 0 || c.Grain < 0 || c.Resend < 0:
		return errors.New("timeout, grain and resend must not be negative")
	case targets == 0:
		return errors.New("no target")
	}
	return nil
}

// source is the address that socket i sends from.
func (c *Common) source(remote netip.AddrPort, i int) netip.Addr {
	s := c.Source
	if len(c.Sources) > 0 {
		s = c.Sources[i%len(c.Sources)]
	}
	if s.IsValid() && s.Unmap().Is4() != remote.Addr().Unmap().Is4() {
		return netip.Addr{}
	}
	return s
}

func (g *generator) open(ends []endpoint) (err error) {
	switch c := &g.common; {
	case c.transport != UDP:
		g.link, err = newStreams(g, g.begin, ends, streamOptions{network: "tcp", tls: c.tls, within: c.Within})
	case c.Plain:
		g.link, err = newStreams(g, g.begin, ends, streamOptions{network: "udp", within: c.Within})
	default:
		g.link, err = newDatagrams(g, g.begin, c.Timeout, ends, !c.NoCut)
	}
	return err
}

// run sends until ctx ends or Limit is reached, waits for what is in flight, closes the sockets and gives the
// books. It may be called once.
func (g *generator) run(ctx context.Context) (Books, error) {
	g.mu.Lock()
	g.first = g.grain(time.Since(g.begin)) // the sockets were opened in between
	g.startSegment(g.first, g.common.Rate)
	g.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer precise()()
		for nap := time.Duration(0); nap >= 0; {
			g.link.wait(nap, g.common.Window > 0)
			nap = g.turn(ctx.Err() != nil)
			g.link.collect()
		}
	}()
	<-done
	err := g.link.close()
	if err != nil {
		err = fmt.Errorf("closing load generator: %w", err)
	}
	return g.snapshot(), err
}

func (g *generator) end() {
	g.mu.Lock()
	g.ended = true
	g.mu.Unlock()
}

// snapshot is a consistent copy of the books; safe from any goroutine.
func (g *generator) snapshot() Books {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.books
	b.Waiting = g.waiting()
	b.Refused = g.refusals.Load()
	b.Faulty = append([]string(nil), b.Faulty...)
	return b
}

func (g *generator) waiting() uint64 {
	return g.books.Sent - g.books.Answered - g.books.Wrong - g.books.Lost
}

// setRate changes the rate from now on; safe from any goroutine.
func (g *generator) setRate(rate float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.common.Rate = rate
	if g.segment.going {
		g.startSegment(time.Since(g.begin), rate)
	}
}

// use sends to that target from now on, resends included; -1 sends to nobody. Safe from any goroutine.
func (g *generator) use(target int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if target == g.target {
		return
	}
	if g.target < 0 && g.segment.going {
		g.startSegment(time.Since(g.begin), g.segment.rate)
	}
	g.target = target
}

func (g *generator) startSegment(at time.Duration, rate float64) {
	g.segment.n, g.segment.at, g.segment.rate, g.segment.going = g.next, at, rate, true
}

// turn is a turn of the clock: everything that is due is sent, what waited too long is sent again or given up. It
// returns how long to sleep until the next one; below 0 when all is over.
func (g *generator) turn(ended bool) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = g.ended || ended
	now := time.Since(g.begin)
	if g.target >= 0 {
		g.sendDue(now)
		g.resendDue(now)
	}
	g.link.flush(now)
	g.giveUp(now)
	if g.ended && g.passed[0] == g.next {
		return -1
	}
	return g.nap(now)
}

// nap is how long nothing will be due.
func (g *generator) nap(now time.Duration) time.Duration {
	if g.ended || g.target < 0 || g.common.Window == 0 && g.segment.rate <= 0 {
		return maxNap
	}
	if g.common.Window > 0 && g.waiting() >= uint64(g.common.Window) {
		return maxNap
	}
	due := g.grain(g.due())
	if due <= now && g.common.Window == 0 { // behind: the rest leaves in the next burst
		due = g.grain(now + 1)
	}
	return min(max(due-time.Since(g.begin), 0), maxNap)
}

// due is when the next request would be due if there were no bursts.
func (g *generator) due() time.Duration {
	s := &g.segment
	if s.rate <= 0 {
		return 0
	}
	return s.at + time.Duration(float64(g.next-s.n)/s.rate*1e9)
}

// grain is the first burst at or after t.
func (g *generator) grain(t time.Duration) time.Duration {
	return (t + g.common.Grain - 1) / g.common.Grain * g.common.Grain
}

func (g *generator) sendDue(now time.Duration) {
	closed := g.common.Window > 0
	if g.ended || !closed && g.segment.rate <= 0 {
		return
	}
	// A generator that was held up catches up at twice the rate, so that no burst of its own making floods the server.
	budget := 16 + int(2*g.segment.rate*g.common.Grain.Seconds())
	if closed {
		budget = g.common.Window
	}
	for ; budget > 0; budget-- {
		exactly := g.due()
		due := g.grain(exactly)
		if due > now || closed && g.waiting() >= uint64(g.common.Window) {
			return
		}
		if closed {
			due, exactly = now, now
		}
		if g.common.Limit > 0 && g.next >= g.common.Limit {
			g.ended = true
			return
		}
		sl := &g.slots[g.next%uint64(len(g.slots))]
		if sl.state == waiting {
			return // every ID is in use: the request stays due, and its latency grows
		}
		*sl = slot{n: g.next, due: due, state: waiting}
		g.books.Sent++
		g.books.Elapsed = exactly - g.first
		g.books.Behind = max(g.books.Behind, now-due)
		g.books.Lag.Add(now - due)
		g.transmit(g.next)
		g.next++
	}
}

// transmit sends request n to the present target.
func (g *generator) transmit(n uint64) {
	index, id := g.locate(n)
	conn := g.conns[g.target][g.proto.kind(n)][index]
	b := g.proto.build(g.link.next(conn)[:0], n, n%uint64(len(g.slots)), id)
	g.link.commit(conn, len(b))
}

// locate gives the socket and the ID of request n: runs of requests take the sockets in turn.
func (g *generator) locate(n uint64) (index int, id uint16) {
	r := n / inRow
	sockets := uint64(g.common.Sockets)
	return int(r % sockets), uint16((r/sockets*inRow + n%inRow) & (1<<g.proto.idBits() - 1))
}

// slotOf is the inverse of locate, as far as slots tell requests apart.
func (g *generator) slotOf(index int, id uint16) *slot {
	local := uint64(id)
	n := (local/inRow*uint64(g.common.Sockets)+uint64(index))*inRow + local%inRow
	return &g.slots[n%uint64(len(g.slots))]
}

// resendDue sends again what has waited for a multiple of Resend.
func (g *generator) resendDue(now time.Duration) {
	if g.common.Resend <= 0 {
		return
	}
	for k := 1; k < g.common.Tries; k++ {
		for ; g.passed[k] < g.next; g.passed[k]++ {
			sl := &g.slots[g.passed[k]%uint64(len(g.slots))]
			if sl.n != g.passed[k] || sl.state != waiting {
				continue
			}
			if sl.due+time.Duration(k)*g.common.Resend > now {
				break
			}
			g.books.Resent++
			g.transmit(sl.n)
		}
	}
}

// giveUp counts as lost what has no right answer in time.
func (g *generator) giveUp(now time.Duration) {
	for ; g.passed[0] < g.next; g.passed[0]++ {
		sl := &g.slots[g.passed[0]%uint64(len(g.slots))]
		if sl.n != g.passed[0] || sl.state != waiting {
			continue
		}
		if sl.due+g.common.Timeout > now {
			return
		}
		sl.state = free
		g.books.Lost++
	}
}

// receive books replies.
func (g *generator) receive(conn int, messages []arrival) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.places[conn]
	for i := range messages {
		g.reply(p, messages[i].data, messages[i].at)
	}
}

func (g *generator) reply(p place, data []byte, now time.Duration) {
	id, ok := g.proto.replyID(data)
	if !ok {
		if g.fault(Malformed) {
			g.books.Faulty = append(g.books.Faulty, fmt.Sprintf("%s: %x", Malformed, data[:min(len(data), 64)]))
		}
		return
	}
	sl := g.slotOf(p.index, id)
	if sl.state != waiting || !g.isPlace(p, sl.n, id) {
		g.books.Late++
		return
	}
	at := sl.n % uint64(len(g.slots))
	fate := g.proto.check(data, sl.n, at, id)
	if fate == Right {
		sl.state = free
		g.books.Fates[Right]++
		g.books.Answered++
		g.books.Latency.Add(max(now-sl.due, 0))
		g.proto.answered(sl.n)
		return
	}
	if g.fault(fate) {
		g.books.Faulty = append(g.books.Faulty, fate.String()+": "+g.proto.explain(data, sl.n, at, id))
	}
	if g.proto.final(fate) || !g.triesLeft(sl) {
		sl.state = free
		g.books.Wrong++
	}
}

// isPlace says whether request n was sent with that ID from that place.
func (g *generator) isPlace(p place, n uint64, id uint16) bool {
	index, want := g.locate(n)
	return index == p.index && want == id && g.proto.kind(n) == p.kind
}

// triesLeft says whether the request will be sent again.
func (g *generator) triesLeft(sl *slot) bool {
	last := g.common.Tries - 1
	return g.common.Resend > 0 && last > 0 && g.passed[last] <= sl.n
}

// fault counts a reply that is not right, and says whether it is one of the few to be described.
func (g *generator) fault(f Fate) bool {
	g.books.Fates[f]++
	return len(g.books.Faulty) < maxFaulty
}

// refused counts what the kernel reports, for example that the port is closed.
func (g *generator) refused() { g.refusals.Add(1) }
