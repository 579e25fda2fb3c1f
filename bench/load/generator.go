package load

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"sync"
	"time"

	"sereno/proxy/udp"
)

// Common is what DNS and RADIUS load have in common. Zero fields take their defaults.
type Common struct {
	Rate    float64       // requests a second
	Limit   uint64        // requests in all; 0: until the context ends
	Timeout time.Duration // without a right answer by then a request is lost; 3 s (RADIUS 10 s)
	Resend  time.Duration // an unanswered request is sent again after each such time; 0: never
	Tries   int           // how often it is sent in all, with Resend; 3
	Sockets int           // source ports for each target, rounded up to a power of two; 32 (RADIUS: as the rate needs)
	Source  netip.Addr    // address to send from; default: the system's choice
	Plain   bool          // udp's single-packet path
	// Laboratory are targets besides this host's own addresses: those of bench/lab, which asks them inside its own
	// network namespaces. Only addresses for documentation (RFC 5737, RFC 3849) are taken.
	Laboratory []netip.Addr
}

// maxTries bounds Common.Tries.
const maxTries = 8

// inRow is how many requests in a row leave by the same socket: they fill a batch.
const inRow = 16

// tick is how often the clock is looked at.
const tick = 500 * time.Microsecond

// maxFaulty bounds Books.Faulty.
const maxFaulty = 5

// protocol builds requests and checks replies. Its methods are called on the generator's goroutine only. slot is
// free for the protocol to remember something by: between build and the request's end no other request has it.
type protocol interface {
	kind(n uint64) int // which of a target's ports request n goes to
	build(dst []byte, n, slot uint64, id uint16) []byte
	replyID(reply []byte) (uint16, bool)
	check(reply []byte, n, slot uint64, id uint16) (Fate, string)
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
	due   time.Duration // since the generator's start
	state uint8
}

// place tells a socket's target, kind and index.
type place struct{ target, kind, index int }

// generator sends by the clock and keeps the books. One udp.Group, one goroutine; mu is held while that goroutine
// works and while somebody looks or changes something.
type generator struct {
	common Common
	proto  protocol
	group  *udp.Group
	conns  [][][]*udp.Conn // by target, kind, index
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
	idle   chan struct{}    // closed when ended and nothing waits
}

// newGenerator opens the sockets. targets[t][k] is where requests of kind k go to at target t.
func newGenerator(c Common, proto protocol, targets [][]netip.AddrPort) (*generator, error) {
	if c.Rate < 0 || c.Rate > 5e6 {
		return nil, fmt.Errorf("rate %g: must be from 0 to 5000000 a second", c.Rate)
	}
	if c.Tries < 1 || c.Tries > maxTries {
		return nil, fmt.Errorf("tries %d: must be from 1 to %d", c.Tries, maxTries)
	}
	if len(targets) == 0 {
		return nil, errors.New("no target")
	}
	c.Sockets = 1 << bits.Len(uint(max(c.Sockets, 1)-1))
	size := uint64(c.Sockets) << proto.idBits()
	enough := uint64(1) << bits.Len64(uint64(2*max(c.Rate, 1000)*c.Timeout.Seconds())+1024)
	group, err := udp.NewGroup(udp.GroupConfig{Plain: c.Plain})
	if err != nil {
		return nil, fmt.Errorf("opening load generator: %w", err)
	}
	g := &generator{common: c, proto: proto, group: group, slots: make([]slot, min(size, enough)), idle: make(chan struct{})}
	if err := g.dial(targets); err != nil {
		return nil, errors.Join(err, group.Close())
	}
	return g, nil
}

func (g *generator) dial(targets [][]netip.AddrPort) error {
	for t, kinds := range targets {
		byKind := make([][]*udp.Conn, len(kinds))
		for k, addr := range kinds {
			if !addr.IsValid() && k > 0 {
				continue
			}
			if err := checkLocal(addr, g.common.Laboratory); err != nil {
				return err
			}
			for i := range g.common.Sockets {
				conn, err := g.group.Dial(addr, g.common.Source, udp.ListenConfig{Tag: place{t, k, i}})
				if err != nil {
					return fmt.Errorf("opening socket to %s: %w", addr, err)
				}
				byKind[k] = append(byKind[k], conn)
			}
		}
		g.conns = append(g.conns, byKind)
	}
	return nil
}

// run sends until ctx ends or Limit is reached, waits for what is in flight, closes the sockets and gives the
// books. It may be called once.
func (g *generator) run(ctx context.Context) (Books, error) {
	g.mu.Lock()
	g.begin = time.Now()
	g.startSegment(0, g.common.Rate)
	g.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- g.group.Run(g) }()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var err error
	for idle := false; !idle && err == nil; {
		select {
		case <-ticker.C:
			if ctx.Err() != nil {
				g.end()
			}
			g.group.Wake()
		case <-g.idle:
			idle = true
		case err = <-done:
			done <- nil
		}
	}
	err = errors.Join(err, g.group.Close(), <-done)
	if err != nil {
		err = fmt.Errorf("running load generator: %w", err)
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
	b.Waiting = b.Sent - b.Answered - b.Wrong - b.Lost
	b.Faulty = append([]string(nil), b.Faulty...)
	return b
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

// Flush is a turn of the clock: everything that is due is sent, what waited too long is sent again or given up.
func (g *generator) Flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Since(g.begin)
	if g.target >= 0 {
		g.sendDue(now)
		g.resendDue(now)
	}
	g.giveUp(now)
	if g.ended && g.passed[0] == g.next {
		select {
		case <-g.idle:
		default:
			close(g.idle)
		}
	}
}

func (g *generator) sendDue(now time.Duration) {
	s := &g.segment
	if g.ended || s.rate <= 0 {
		return
	}
	for budget := 4096; budget > 0; budget-- {
		due := s.at + time.Duration(float64(g.next-s.n)/s.rate*1e9)
		if due > now {
			return
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
		g.books.Elapsed = due
		g.books.Behind = max(g.books.Behind, now-due)
		g.transmit(g.next)
		g.next++
	}
}

// transmit sends request n to the present target.
func (g *generator) transmit(n uint64) {
	index, id := g.locate(n)
	conns := g.conns[g.target][g.proto.kind(n)]
	conn := conns[index]
	buf := conn.Next()
	b := g.proto.build(buf[:0], n, n%uint64(len(g.slots)), id)
	conn.Commit(len(b), udp.Dest{})
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

// Receive books a batch of replies.
func (g *generator) Receive(c *udp.Conn, batch []udp.Packet) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := c.Tag().(place)
	now := time.Since(g.begin)
	for i := range batch {
		g.reply(p, batch[i].Data, now)
	}
}

func (g *generator) reply(p place, data []byte, now time.Duration) {
	id, ok := g.proto.replyID(data)
	if !ok {
		g.fault(Malformed, fmt.Sprintf("%x", data[:min(len(data), 64)]))
		return
	}
	sl := g.slotOf(p.index, id)
	if sl.state != waiting || !g.isPlace(p, sl.n, id) {
		g.books.Late++
		return
	}
	fate, why := g.proto.check(data, sl.n, sl.n%uint64(len(g.slots)), id)
	if fate == Right {
		sl.state = free
		g.books.Fates[Right]++
		g.books.Answered++
		g.books.Latency.Add(now - sl.due)
		g.proto.answered(sl.n)
		return
	}
	g.fault(fate, why)
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

func (g *generator) fault(f Fate, why string) {
	g.books.Fates[f]++
	if len(g.books.Faulty) < maxFaulty {
		g.books.Faulty = append(g.books.Faulty, f.String()+": "+why)
	}
}

// SocketError counts what the kernel reports, for example that the port is closed.
func (g *generator) SocketError(*udp.Conn, error) {
	g.mu.Lock()
	g.books.Refused++
	g.mu.Unlock()
}
