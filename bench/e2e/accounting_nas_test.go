package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/radpkt"
	"sereno/bench/stub"
)

// event is one accounting record of a NAS: the nth of its session.
type event struct {
	session string
	n       int
}

// told is what the NAS knows of a record.
type told struct {
	first, last time.Time // when it was sent, for the first and the last time
	sends       int
	acked       bool
}

// perSession is how many records a session has: a Start, Interim-Updates, a Stop. Each is sent when the one before was
// acknowledged, as a NAS does.
const perSession = 5

// sessions is a NAS with many lines, each of which sends one record after the other. It repeats what is not
// acknowledged every second, the same bytes each time.
type sessions struct {
	t    *testing.T
	to   netip.AddrPort
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	books map[event]*told
}

const lines = 64

// account sends that many records a second, over all lines.
func account(t *testing.T, to netip.AddrPort, rate int) *sessions {
	s := &sessions{t: t, to: to, stop: make(chan struct{}), books: map[event]*told{}}
	for line := range lines {
		s.wg.Go(func() { s.line(line, time.Second*lines/time.Duration(rate)) })
	}
	return s
}

// end waits until all that was sent is acknowledged.
func (s *sessions) end() {
	close(s.stop)
	s.wg.Wait()
}

func (s *sessions) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

func (s *sessions) line(line int, every time.Duration) {
	conn, err := net.Dial("udp", s.to.String())
	if err != nil {
		s.t.Error(err)
		return
	}
	defer conn.Close()
	keyer := radpkt.NewKeyer([]byte(harness.NASSecret))
	due := time.Now().Add(every * time.Duration(line) / lines)
	for i := 0; !s.stopped(); i++ {
		time.Sleep(time.Until(due)) // the rate of the load; nothing is proven by it
		due = due.Add(every)
		e := event{session: fmt.Sprintf("line-%d-%d", line, i/perSession), n: i % perSession}
		if err := s.send(conn, keyer, e, byte(i)); err != nil {
			s.t.Errorf("%v: %v", e, err)
			return
		}
	}
}

// send sends one record until it is acknowledged.
func (s *sessions) send(conn net.Conn, keyer *radpkt.Keyer, e event, id byte) error {
	status := uint32(stub.AcctInterim)
	switch e.n {
	case 0:
		status = stub.AcctStart
	case perSession - 1:
		status = stub.AcctStop
	}
	p := radpkt.Start(nil, radpkt.AccountingRequest, id)
	p = radpkt.AttrString(p, radpkt.UserName, "user-of-"+e.session)
	p = radpkt.AttrUint32(p, radpkt.AcctStatusType, status)
	p = radpkt.AttrString(p, radpkt.AcctSessionID, e.session)
	p = radpkt.AttrUint32(p, radpkt.AcctSessionTime, uint32(e.n))
	p = radpkt.AttrUint32(p, radpkt.AcctDelayTime, 0)
	keyer.SignRequest(p, [16]byte{})
	book := &told{first: time.Now()}
	s.mu.Lock()
	s.books[e] = book
	s.mu.Unlock()
	buf := make([]byte, 4096)
	for range 120 {
		s.mu.Lock()
		book.sends++
		book.last = time.Now()
		s.mu.Unlock()
		_, _ = conn.Write(p) // refused while nobody listens
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		for {
			n, err := conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err == nil && n >= radpkt.HeaderSize && buf[1] == id && keyer.CheckReply(buf[:n], [16]byte(p[4:radpkt.HeaderSize]), false) == nil {
				s.mu.Lock()
				book.acked = true
				s.mu.Unlock()
				return nil
			}
			if err != nil {
				time.Sleep(time.Millisecond) // a closed port is told at once: until the deadline
			}
		}
	}
	return errors.New("never acknowledged")
}

// sum gives how many records were acknowledged, and how often records were sent again.
func (s *sessions) sum() (acked, again int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.books {
		again += b.sends - 1
		if b.acked {
			acked++
		}
	}
	return acked, again
}
