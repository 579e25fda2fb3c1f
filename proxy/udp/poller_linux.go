package udp

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller waits for the sockets of one Group. They are in an epoll set of their own, and the runtime's poller waits for
// that set: a goroutine with nothing to do is parked, and holds neither a thread nor a processor.
//
// Between the two is a gate, an epoll set that holds nothing but the first one. While the loop is busy the gate is
// shut: the runtime's poller would otherwise be woken on another core by each datagram that arrives, for nothing.
type poller struct {
	ep    int // the sockets, and event
	gate  int // ep
	event int // eventfd that wake writes to
	file  *os.File
	raw   syscall.RawConn
	try   func(uintptr) bool // tryOnce; made once, since a method value for each wait would be an allocation
	awake atomic.Bool        // event was or will be written and is not read yet

	// Of the loop's goroutine.
	events []unix.EpollEvent
	n      int
	errno  syscall.Errno
	open   bool // the gate
	parked bool // since wait was called

	mu     sync.Mutex // the descriptors against closed
	closed bool
}

func newPoller() (*poller, error) {
	p := &poller{ep: -1, gate: -1, event: -1}
	p.try = p.tryOnce
	if err := p.init(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) init() (err error) {
	if p.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("creating an epoll set: %w", err)
	}
	if p.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("creating an event descriptor: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(p.event)}
	if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, p.event, &ev); err != nil {
		return fmt.Errorf("watching the event descriptor: %w", err)
	}
	if p.gate, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("creating an epoll set: %w", err)
	}
	ev = unix.EpollEvent{Fd: int32(p.ep)}
	if err := unix.EpollCtl(p.gate, unix.EPOLL_CTL_ADD, p.ep, &ev); err != nil {
		return fmt.Errorf("watching the epoll set: %w", err)
	}
	// os.NewFile gives only non-blocking descriptors to the runtime's poller.
	if err := unix.SetNonblock(p.gate, true); err != nil {
		return fmt.Errorf("making an epoll set non-blocking: %w", err)
	}
	p.file = os.NewFile(uintptr(p.gate), "epoll")
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return fmt.Errorf("waiting for the epoll set: %w", err)
	}
	return nil
}

// wait fills events with what is ready, as soon as something is.
func (p *poller) wait(events []unix.EpollEvent) (int, error) {
	p.events, p.parked = events, false
	if err := p.raw.Read(p.try); err != nil {
		return 0, err
	}
	if p.errno != 0 {
		return 0, p.errno
	}
	for i := range p.n {
		if int(events[i].Fd) == p.event {
			p.clear()
		}
	}
	return p.n, nil
}

// tryOnce tells whether there is something to do; if not, the goroutine is parked until the gate lets an event through,
// and then asked again.
func (p *poller) tryOnce(uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.ep),
			uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		p.n, p.errno = int(n), errno
		if errno != 0 || n != 0 || p.open {
			break
		}
		// Opening the gate wakes nobody for what came while it was shut, if ep stands in the gate's list of ready
		// descriptors since the last time: EPOLL_CTL_MOD wakes only for one that it enters there (ep_modify in the
		// kernel's fs/eventpoll.c). What comes from here on does wake; what came before is found by looking again.
		if p.setGate(true); p.errno != 0 {
			break
		}
	}
	busy := p.n != 0 && !p.parked // work for a second turn in a row
	idle := p.n == 0
	if p.errno == 0 && busy && p.open {
		p.setGate(false)
	}
	p.parked = true
	return !idle || p.errno != 0
}

func (p *poller) setGate(open bool) {
	ev := unix.EpollEvent{Fd: int32(p.ep)}
	if open {
		ev.Events = unix.EPOLLIN
	}
	_, _, p.errno = unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.gate), unix.EPOLL_CTL_MOD, uintptr(p.ep), uintptr(unsafe.Pointer(&ev)), 0, 0)
	p.open = open
}

// clear takes the wake back before the turn that it asked for: one that comes after this asks for another turn, and one
// that came before is served by this one. That is why the descriptor is read first.
func (p *poller) clear() {
	var buf [8]byte
	_, _ = unix.Read(p.event, buf[:]) // cannot fail: epoll said that there is something
	p.awake.Swap(false)
}

// wake makes wait return. Both sides swap, so what was written before wake is seen in the turn that it led to.
func (p *poller) wake() {
	if p.awake.Swap(true) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		one := [8]byte{1, 1, 1, 1, 1, 1, 1, 1} // any number but 0, in either byte order
		_, _ = unix.Write(p.event, one[:])     // cannot fail: it is read before the next one is written
	}
}

// remove stops waiting for a descriptor.
func (p *poller) remove(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		_ = unix.EpollCtl(p.ep, unix.EPOLL_CTL_DEL, fd, nil) // fails only if it was not watched yet
	}
}

func (p *poller) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	if p.file != nil {
		_ = p.file.Close()
	} else if p.gate >= 0 {
		_ = unix.Close(p.gate)
	}
	for _, fd := range []int{p.event, p.ep} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
