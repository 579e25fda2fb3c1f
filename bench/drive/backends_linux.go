package drive

import (
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Mode is what is the matter with a backend.
type Mode int32

// The modes.
const (
	Good    Mode = iota
	Frozen       // its sockets are open and nobody reads them
	Silent       // what it is asked vanishes
	Failing      // it answers as Port.Fail does: SERVFAIL; a RADIUS server to Status-Server alone
	Killed       // its sockets are closed: the kernel says so to who asks. It stays killed
)

// String is the mode in a word.
func (m Mode) String() string {
	return [...]string{"good", "frozen", "silent", "failing", "killed"}[m]
}

// Port is one socket of a backend.
type Port struct {
	Addr   netip.AddrPort
	Answer func(dst, request []byte) []byte // appends a reply; nothing: none
	Fail   func(dst, request []byte) []byte // the same for Failing; nil: silent

	fd int
}

// Backend is one server behind the one that is measured. While Run drives, it is served on Run's thread; else by a
// goroutine of its own, so that who probes it finds it alive.
type Backend struct {
	ports []Port
	mode  atomic.Int32

	mu     sync.Mutex // held by whoever serves
	in     *inbox
	out    *outbox
	asked  uint64
	closed bool
	done   chan struct{}
}

// NewBackend opens the ports.
func NewBackend(ports ...Port) (*Backend, error) {
	b := &Backend{ports: ports, in: newInbox(), out: newOutbox(true), done: make(chan struct{})}
	for i := range ports {
		fd, err := open(ports[i].Addr, netip.AddrPort{})
		if err != nil {
			b.ports = ports[:i]
			b.kill()
			return nil, err
		}
		ports[i].fd = fd
	}
	go b.idle()
	return b, nil
}

// Set changes its mode. Killed is for good. Safe for concurrent use.
func (b *Backend) Set(m Mode) { b.mode.Store(int32(m)) }

// Close frees it.
func (b *Backend) Close() {
	b.mu.Lock()
	b.closed = true
	b.kill()
	b.mu.Unlock()
	<-b.done
}

// kill closes the sockets; mu is held.
func (b *Backend) kill() {
	for i := range b.ports {
		_ = unix.Close(b.ports[i].fd)
	}
	b.ports = nil
}

// idle serves while nobody drives.
func (b *Backend) idle() {
	defer close(b.done)
	for {
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return
		}
		b.serve()
		b.mu.Unlock()
		time.Sleep(2 * time.Millisecond) // whoever drives gets the lock meanwhile
		runtime.Gosched()
	}
}

// serve answers what there is; mu is held.
func (b *Backend) serve() {
	mode := Mode(b.mode.Load())
	if mode == Killed && b.ports != nil {
		b.kill()
	}
	for i := range b.ports {
		if mode == Frozen {
			return
		}
		p := &b.ports[i]
		n, err := b.in.receive(p.fd)
		if err != nil || n == 0 {
			continue
		}
		b.asked += uint64(n) //nolint:gosec // not negative
		answer := p.Answer
		if mode == Failing {
			answer = p.Fail
		}
		if mode == Silent || answer == nil {
			continue
		}
		for k := range n {
			if reply := answer(b.out.next(), b.in.data(k)); len(reply) > 0 {
				b.out.commit(len(reply), b.in.from(k))
			}
			if b.out.n == batch {
				_ = b.out.send(p.fd) // the server's socket may be gone
			}
		}
		_ = b.out.send(p.fd)
	}
}
