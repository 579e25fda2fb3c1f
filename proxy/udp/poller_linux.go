package udp

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller waits for the sockets of one Group: an epoll set, and in it an event that other goroutines raise.
//
// The loop waits in epoll_wait itself, and not for the runtime's poller: then a datagram wakes the very thread that
// serves it, where the other way takes four system calls more and often a second thread. See the package's comment for
// what that asks of GOMAXPROCS.
type poller struct {
	ep    int         // the sockets, and event
	event int         // eventfd that wake writes to
	awake atomic.Bool // event was or will be written and is not read yet

	mu     sync.Mutex // the descriptors against closed
	closed bool
}

func newPoller() (*poller, error) {
	p := &poller{ep: -1, event: -1}
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
	return nil
}

// look fills events with what is ready now.
func (p *poller) look(events []unix.EpollEvent) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.ep),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	return p.found(events, n, errno)
}

// wait fills events with what is ready, as soon as something is, or with nothing when a signal came.
func (p *poller) wait(events []unix.EpollEvent) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.ep),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), ^uintptr(0), 0, 0)
	return p.found(events, n, errno)
}

func (p *poller) found(events []unix.EpollEvent, n uintptr, errno syscall.Errno) (int, error) {
	switch errno {
	case 0:
	case unix.EINTR:
		return 0, nil
	default:
		return 0, errno
	}
	for i := range n {
		if int(events[i].Fd) == p.event {
			p.clear()
		}
	}
	return int(n), nil
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
	for _, fd := range []int{p.event, p.ep} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
