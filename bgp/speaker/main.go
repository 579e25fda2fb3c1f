package speaker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"sereno/bgp"
)

// The exit codes of a speaker.
const (
	exitClosed = 0 // the node asked for it
	exitUsage  = 2 // not started by a node
	exitLease  = 3 // the node was silent for the lease
	exitOrphan = 4 // the node is gone
	exitFailed = 5 // GoBGP refused something, or the node broke the protocol
	stopLimit  = 200 * time.Millisecond
)

// memoryLimit is where garbage collection begins to work hard. A whole Internet
// table, which a router that is set wrong may send on the last session, has room
// below it: collecting must not starve that session (A19).
const memoryLimit = 768 << 20

// Main is the body of the hidden command `sereno bgp-speaker`: stdin is the
// socket to the node (see bgp.Command), what goes to stderr ends in the node's
// log. It returns the process's exit code; the process must end with it at
// once, because GoBGP cannot be ended otherwise.
func Main(stdin *os.File, stderr io.Writer) int {
	// Only the node says when to end: a service manager that signals the whole
	// group must not take the routes away before the drain.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	debug.SetMemoryLimit(memoryLimit)
	// Go's listeners are MPTCP sockets, on which MD5 and GTSM cannot be set.
	if err := os.Setenv("GODEBUG", "multipathtcp=0"); err != nil {
		fmt.Fprintln(stderr, "switching MPTCP off:", err)
		return exitFailed
	}
	conn, err := net.FileConn(stdin)
	if err != nil {
		fmt.Fprintln(stderr, "this command is started by `sereno run`; standard input is not its socket:", err)
		return exitUsage
	}
	defer conn.Close()
	code, err := serve(conn, stderr)
	if err != nil {
		fmt.Fprintln(stderr, err)
	}
	return code
}

// serve speaks to the node until the end.
func serve(conn net.Conn, stderr io.Writer) (int, error) {
	var first bgp.Order
	if err := bgp.ReadFrame(conn, &first); err != nil {
		return exitOrphan, fmt.Errorf("waiting for the first order: %w", err)
	}
	if first.Kind != bgp.OrderSession || first.Session == nil {
		return exitFailed, fmt.Errorf("the first order is %q, not the session", first.Kind)
	}
	session := *first.Session
	l := newLease(session.Lease, time.Duration(first.Stamp))
	g, err := startBGP(session, stderr)
	if err != nil {
		return exitFailed, err
	}
	defer g.stop(stopLimit)

	w := &worker{conn: conn, keeper: newKeeper(g, &session), lease: l, orders: make(chan bgp.Order, 16)}
	stop := make(chan struct{})
	defer close(stop)
	gone, over, worked := make(chan error, 1), make(chan struct{}), make(chan error, 1)
	go func() { gone <- w.listen(stop) }()
	go func() {
		if l.over(stop) {
			close(over)
		}
	}()
	go func() { worked <- w.work(stop) }()
	select {
	case <-over:
		return exitLease, fmt.Errorf("lease over: the node did not stand for its routes for %v", session.Lease)
	case err := <-gone:
		return exitOrphan, fmt.Errorf("the node is gone: %w", err)
	case err := <-worked:
		if err == nil {
			return exitClosed, nil
		}
		return exitFailed, err
	}
}

// worker carries out orders and reports.
type worker struct {
	conn   net.Conn
	keeper *keeper
	lease  *lease
	orders chan bgp.Order
}

// listen reads orders. The lease is renewed here, at once, so that work in
// progress does not look like the node's silence.
func (w *worker) listen(stop <-chan struct{}) error {
	length := w.keeper.session.Lease // its own copy: work may change the session
	for {
		var o bgp.Order
		if err := bgp.ReadFrame(w.conn, &o); err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("its end of the socket is closed")
			}
			return err
		}
		if o.Session != nil {
			length = o.Session.Lease
		}
		if o.Kind == bgp.OrderRoutes && o.Routes == nil {
			return errors.New("a set of routes without routes")
		}
		w.lease.renew(length, time.Duration(o.Stamp))
		if o.Kind == bgp.OrderBeat {
			continue
		}
		select {
		case w.orders <- o:
		case <-stop:
			return nil
		}
	}
}

// work ends with nil when the node asks for it.
func (w *worker) work(stop <-chan struct{}) error {
	k := w.keeper
	every := time.NewTicker(time.Second)
	defer every.Stop()
	beat := time.NewTicker(bgp.Beat(k.session.Lease))
	defer beat.Stop()
	if err := w.send(); err != nil {
		return err
	}
	for {
		var err error
		select {
		case <-stop:
			return nil
		case o := <-w.orders:
			switch o.Kind {
			case bgp.OrderClose:
				return nil
			case bgp.OrderSession:
				*k.session = *o.Session
				beat.Reset(bgp.Beat(k.session.Lease))
			case bgp.OrderRoutes:
				if o.Number == k.report.Number {
					continue
				}
				if err = k.set(o.Routes, o.Number); err == nil {
					err = k.check()
				}
			default:
				err = fmt.Errorf("order %q is not known", o.Kind)
			}
		case <-k.g.notify:
			err = k.check()
		case <-every.C:
			err = k.check()
		case <-beat.C:
		}
		if err == nil {
			err = w.send()
		}
		if err != nil {
			return err
		}
	}
}

func (w *worker) send() error {
	r := w.keeper.report
	r.Margin = w.lease.takeMargin()
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.keeper.session.Lease)); err != nil {
		return fmt.Errorf("reporting: %w", err)
	}
	if err := bgp.WriteFrame(w.conn, r); err != nil {
		return fmt.Errorf("reporting: %w", err)
	}
	return nil
}
