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
	upstreams map[*pool.Backend]*upstream
	seen      map[*pool.Pool]uint64 // generation that was looked at
	retired   []*socket             // to be closed when nothing waits on them
	wheel     wheel
	fresh     []*flight // to be used again
	spare     []*attempt
	oldest    attemptList // attempts without a reply, by the time they were sent
	round     uint64      // counts turns of the loop
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
}

// letter is something that another goroutine has for a worker.
type letter struct {
	w    *waiter // a client's query over a connection
	key  []byte  // its question's key
	qlen int
	hash uint64

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

// Receive handles one batch: of clients on a listener, or of a backend's replies.
func (w *worker) Receive(c *udp.Conn, batch []udp.Packet) {
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	w.begin()
	w.packets.Add(uint64(len(batch)))
	switch tag := c.Tag().(type) {
	case *listener:
		w.clients(c, tag, batch)
	case *socket:
		for i := range batch {
			w.receive(tag, batch[i].Data)
		}
	}
}

// clients answers what it can of a batch at once, and sends the rest on its way.
func (w *worker) clients(c *udp.Conn, l *listener, batch []udp.Packet) {
	t := &w.t
	closing := w.s.closing.Load()
	for i := range batch {
		p := &batch[i]
		if closing {
			t.book.came(UDP)
			t.book.dropped(UDP, DropClosing)
			continue
		}
		out := c.Next()
		n, r := w.s.serve(t, UDP, p.Dest, p.Data, out)
		switch r {
		case answered, exempt:
			c.Commit(n, p.Dest)
		case missed:
			w.miss(p.Data, l, p.Dest)
		case dropped:
		}
	}
	t.latencies(w.s)
}

// Flush runs once in each turn of the loop: letters, timers, upkeep.
func (w *worker) Flush() {
	w.round++
	if w.flying.Load() == 0 && !w.mail.any.Load() && !w.upkeepDue() {
		return
	}
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	w.begin()
	if w.mail.any.Load() {
		w.readMail()
	}
	w.watchPools()
	w.wheel.advance(w.t.now, w.expire)
	w.forget()
	if w.upkeepDue() {
		w.upkeep = w.t.now
		w.tend()
	}
}

func (w *worker) readMail() {
	w.mail.Lock()
	w.mail.any.Store(false)
	w.letters, w.mail.letters = w.mail.letters, w.letters[:0]
	w.mail.Unlock()
	for i := range w.letters {
		l := &w.letters[i]
		if l.a != nil {
			w.tcpEnded(l.a, l.msg, l.err)
		} else {
			w.begun(l.w, l.key, l.qlen, l.hash)
		}
		*l = letter{}
	}
}

// SocketError is told by the kernel: nobody listens at the backend, or there is no way
// to it. What waits on that socket goes elsewhere at once (D23).
func (w *worker) SocketError(c *udp.Conn, err error) {
	sock, ok := c.Tag().(*socket)
	if !ok {
		return
	}
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	w.begin()
	w.socketError(sock, err)
}

// watchPools looks for questions that wait at a backend which is not up any more.
func (w *worker) watchPools() {
	for _, p := range w.t.set.allPools {
		if g := p.Generation(); g != w.seen[p] {
			w.seen[p] = g
			w.wheel.each(func(f *flight) {
				if f.pool == p {
					w.moveAway(f)
				}
			})
		}
	}
}
