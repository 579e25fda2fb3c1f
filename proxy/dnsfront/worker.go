package dnsfront

import (
	crand "crypto/rand"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"sereno/proxy/dnswire"
	"sereno/proxy/pool"
	"sereno/proxy/udp"
)

// worker is one core's share: a group of sockets, one goroutine, and all that only
// this goroutine touches.
type worker struct {
	s     *Service
	id    int
	group *udp.Group
	book  book
	rng   *rand.ChaCha8 // seeded by the system's generator: IDs and sockets cannot be guessed (D21)

	t         turn
	ahead     [readAhead]query // those of a batch that come next
	upstreams map[*pool.Backend]*upstream
	seen      map[*pool.Pool]uint64 // generation that was looked at
	retired   []*socket             // to be closed when nothing waits on them
	wheel     wheel
	fresh     []*flight // to be used again
	spare     []*attempt
	oldest    []*attemptList // attempts without a reply
	round     uint64         // counts turns of the loop
	run       pool.Run       // of the batch of clients' queries at hand
	reply     dnswire.Reply
	kbuf      [maxKey]byte
	big       [dnswire.MaxMessage + 1]byte // where answers for connections are built
	upkeep    int64                        // when upstream sockets were last looked after

	packets atomic.Uint64
	flying  atomic.Int64 // flights and attempts that the janitor must wake us for

	mail struct {
		sync.Mutex
		letters []letter
		any     atomic.Bool
	}
	letters []letter // taken out of mail
	read    int      // of letters

	// What is at hand, for when it makes us panic (fault.go).
	at      int       // index of the packet in its batch
	reading reading   // what of
	single  bool      // a packet ahead makes reading panic: no more of that in this batch
	flight  *flight   // whose reply or timer it is
	entered *flight   // in the table, not in the wheel yet
	given   *waiter   // counted as in flight, and in no flight
	owed    []*waiter // taken out of a flight, and not answered yet
}

// letter is something that another goroutine has for a worker.
type letter struct {
	w    *waiter // a client's query over a connection
	key  []byte  // its question's key
	qlen int
	hash uint64
	due  int64 // of somebody who waits for that question's answer already, and w is nil

	a   *attempt // over TCP, that has ended
	msg []byte   // its reply
	err error    // or why there is none
}

func newWorker(s *Service, id int, g *udp.Group) *worker {
	var seed [32]byte
	crand.Read(seed[:])
	w := &worker{s: s, id: id, group: g, rng: rand.NewChaCha8(seed), upstreams: map[*pool.Backend]*upstream{}, seen: map[*pool.Pool]uint64{}}
	w.wheel.init()
	return w
}

// post hands a letter to the worker. Safe from any goroutine.
func (w *worker) post(l letter) {
	w.mail.Lock()
	w.mail.letters = append(w.mail.letters, l)
	w.mail.Unlock()
	if !w.mail.any.Swap(true) {
		w.group.Wake()
	}
}

// begin takes the time and the settings for a batch.
func (w *worker) begin() { w.t.begin(w.s, &w.book) }

// Receive handles one batch: of clients on a listener, or of a backend's replies. A
// packet that makes us panic is left out, and the batch goes on behind it.
func (w *worker) Receive(c *udp.Conn, batch []udp.Packet) {
	w.single = false
	for len(batch) > 0 {
		batch = batch[w.receiveSome(c, batch):]
	}
}

// receiveSome handles a batch to its end, or to the first packet that makes us panic,
// and returns how many packets are done. There is one deferred call for the batch, none
// for a packet.
func (w *worker) receiveSome(c *udp.Conn, batch []udp.Packet) (n int) {
	w.book.mu.Lock()
	defer func() {
		if fault := recover(); fault != nil {
			n = w.recovered(fault, batch)
		}
		w.book.mu.Unlock()
	}()
	w.at = 0
	w.begin()
	w.packets.Add(uint64(len(batch)))
	switch tag := c.Tag().(type) {
	case *listener:
		w.clients(c, tag, batch)
	case *socket:
		for i := range batch {
			w.at = i
			w.receive(tag, batch[i].Data)
		}
	}
	return len(batch)
}

// reading says what is being read: nothing, packets ahead of the one at hand, or that one.
type reading uint8

const (
	readingNothing reading = iota
	readingAhead
	readingOne
)

// recovered puts in order what a panic left of a batch, and returns how many packets of it
// are done.
func (w *worker) recovered(fault any, batch []udp.Packet) int {
	what := w.reading
	w.reading = readingNothing
	switch what {
	case readingAhead: // nothing was done yet; without reading ahead the packet is found that it was
		w.single = true
		return w.at
	case readingOne:
		w.book.came(UDP)
	case readingNothing:
	}
	w.s.faults.Caught(fault, batch[w.at].Data)
	w.mend(w.goOn)
	return w.at + 1
}

// readAhead is how many queries are read before the first of them is answered: enough
// that the memory for the last ones comes while the first ones are served, and few enough
// for what was read to stay in the processor's first cache.
const readAhead = 16

// prepare reads what comes next of a batch, and has the cache's memory fetched for it.
func (w *worker) prepare(batch []udp.Packet) {
	w.reading = readingAhead
	cache := w.t.set.cache
	if len(batch) == 1 { // there is nothing to wait for together
		cache = nil
	}
	for i := range batch {
		x := &w.ahead[i]
		w.s.read(x, batch[i].Data)
		if cache != nil && len(x.key) > 0 {
			cache.fetchSlot(x.hash)
		}
	}
	for i := range batch {
		if x := &w.ahead[i]; cache != nil && len(x.key) > 0 {
			cache.fetchEntry(x.hash)
		}
	}
	w.reading = readingNothing
}

// clients answers what it can of a batch at once, and sends the rest on its way.
func (w *worker) clients(c *udp.Conn, l *listener, batch []udp.Packet) {
	t := &w.t
	w.run = pool.NewRun(len(batch))
	closing := w.s.closing.Load()
	for i := range batch {
		w.at = i
		p := &batch[i]
		if closing {
			t.book.came(UDP)
			t.book.dropped(UDP, DropClosing)
			continue
		}
		if t.lens != nil {
			w.s.regard(t, i, len(batch), UDP, p.Dest, p.Data)
		}
		if w.single {
			w.reading = readingOne
			w.s.read(&w.ahead[i%readAhead], p.Data)
			w.reading = readingNothing
		} else if i%readAhead == 0 {
			w.prepare(batch[i:min(i+readAhead, len(batch))])
		}
		t.query = &w.ahead[i%readAhead]
		out := c.Next()
		n, r := w.s.decide(t, UDP, &p.Dest, p.Data, out)
		if t.trace != nil {
			t.after(UDP, p.Peer.Addr(), r, out[:n])
		}
		switch r {
		case answered, exempt:
			c.Commit(n, p.Dest)
		case missed:
			w.miss(p.Data, l, p.Dest)
		case dropped, faulted:
		}
	}
	w.run = pool.Run{}
	t.latencies(w.s)
}

// Flush runs once in each turn of the loop: letters, timers, upkeep.
func (w *worker) Flush() {
	w.book.mu.Lock() // as all of a worker's state
	w.round++
	idle := w.flying.Load() == 0 && !w.mail.any.Load() && w.read == len(w.letters) && !w.upkeepDue()
	w.book.mu.Unlock()
	if idle {
		return
	}
	for range maxFaults {
		if w.pass() {
			return
		}
	}
}

// pass does what time and others ask for. false: it panicked on the way, and what was
// not done is done by another pass.
func (w *worker) pass() (done bool) {
	w.book.mu.Lock()
	defer func() {
		if fault := recover(); fault != nil {
			w.s.faults.Caught(fault, nil)
			w.wheel.repeat()
			w.mend(w.abort)
		}
		w.book.mu.Unlock()
	}()
	w.begin()
	w.readMail()
	w.watchPools()
	w.wheel.advance(w.t.now, w.fire)
	w.forget()
	if w.upkeepDue() {
		w.upkeep = w.t.now
		w.tend()
	}
	return true
}

func (w *worker) readMail() {
	for w.mail.any.Load() || w.read < len(w.letters) {
		if w.read == len(w.letters) {
			w.mail.Lock()
			w.mail.any.Store(false)
			w.letters, w.mail.letters = w.mail.letters, w.letters[:0]
			w.mail.Unlock()
			w.read = 0
		}
		for w.read < len(w.letters) {
			l := w.letters[w.read]
			w.letters[w.read] = letter{}
			w.read++
			switch {
			case l.a != nil:
				w.flight = l.a.f
				w.tcpEnded(l.a, l.msg, l.err)
				w.flight = nil
			case l.w != nil:
				w.given = l.w
				w.begun(l.w, l.key, l.qlen, l.hash)
				w.given = nil
			default:
				w.hurry(l.key, l.hash, l.due)
			}
		}
	}
}

// SocketError is told by the kernel: nobody listens at the backend, or there is no way
// to it. What waits on that socket goes elsewhere at once (D23).
func (w *worker) SocketError(c *udp.Conn, err error) {
	sock, ok := c.Tag().(*socket)
	if !ok {
		return
	}
	for range maxFaults {
		if w.sockError(sock, err) {
			return
		}
	}
}

func (w *worker) sockError(sock *socket, err error) (done bool) {
	w.book.mu.Lock()
	defer func() {
		if fault := recover(); fault != nil {
			w.s.faults.Caught(fault, nil)
			w.mend(w.abort)
		}
		w.book.mu.Unlock()
	}()
	w.begin()
	w.socketError(sock, err)
	return true
}

// watchPools looks for questions that wait at a backend which is not up any more.
func (w *worker) watchPools() {
	for _, p := range w.t.set.allPools {
		if g := p.Generation(); g != w.seen[p] {
			w.wheel.each(func(f *flight) {
				if f.pool == p {
					w.flight = f
					w.moveAway(f)
					w.flight = nil
				}
			})
			w.seen[p] = g
		}
	}
}
