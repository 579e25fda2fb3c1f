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

// poller waits for the sockets of one Group. They are in an epoll set of their own, and that set is waited on through
// the runtime's poller: a goroutine with nothing to do is parked and holds neither a thread nor a processor.
type poller struct {
	ep     int // the sockets and event
	event  int // eventfd that wake writes
	file   *os.File
	raw    syscall.RawConn
	try    func(uintptr) bool // made once: a closure for each wait would be an allocation
	events []unix.EpollEvent
	n      int
	errno  syscall.Errno
	awake  atomic.Bool

	mu     sync.Mutex // of event against closed
	closed bool
}

func newPoller() (*poller, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating an epoll set: %w", err)
	}
	p := &poller{ep: ep, event: -1}
	if err := p.init(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) init() (err error) {
	if err := unix.SetNonblock(p.ep, true); err != nil {
		return fmt.Errorf("making the epoll set non-blocking: %w", err)
	}
	p.file = os.NewFile(uintptr(p.ep), "epoll")
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return fmt.Errorf("waiting on the epoll set: %w", err)
	}
	p.try = p.tryOnce
	if p.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("creating an event descriptor: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(p.event)}
	if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, p.event, &ev); err != nil {
		return fmt.Errorf("watching the event descriptor: %w", err)
	}
	return nil
}

// wait fills events with what is ready, after waiting for it.
func (p *poller) wait(events []unix.EpollEvent) (int, error) {
	p.events = events
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

func (p *poller) tryOnce(uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.ep), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		p.n, p.errno = int(n), errno
		return n != 0 || errno != 0
	}
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
	if p.event >= 0 {
		_ = unix.Close(p.event)
	}
	if p.file != nil {
		_ = p.file.Close()
	} else {
		_ = unix.Close(p.ep)
	}
}
