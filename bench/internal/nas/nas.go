// Package nas is a NAS that accounts: many lines, each of which sends the
// numbered records of one session after the other, and remembers of each record
// when it was sent, how often, and whether it was acknowledged. What was
// acknowledged must be in a server's books.
package nas

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"sereno/bench/internal/radpkt"
	"sereno/bench/stub"
)

// Event is one accounting record of a NAS: the Nth of its session, from 0.
type Event struct {
	Session string // Acct-Session-Id
	N       int    // its Acct-Session-Time
}

// Told is what the NAS knows of a record.
type Told struct {
	First, Last time.Time // when it was sent, for the first and the last time
	Sends       int
	Acked       bool
}

// Config says what is sent. Every field is needed.
type Config struct {
	Dial       func() (net.Conn, error) // a UDP socket to the accounting port
	Secret     []byte
	Name       string        // sessions' names begin with it
	Lines      int           // that account side by side
	Rate       float64       // records a second, over all lines
	PerSession int           // records of a session: a Start, Interim-Updates, a Stop; 2 at least
	Resend     time.Duration // what is not acknowledged is sent again after each such time, the same bytes
	Tries      int           // then the line gives up
}

// NAS is a NAS that accounts. Its methods are safe for concurrent use.
type NAS struct {
	c    Config
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	books map[Event]*Told
	errs  []error
}

// Start begins to account.
func Start(c Config) *NAS {
	s := &NAS{c: c, stop: make(chan struct{}), books: map[Event]*Told{}}
	every := time.Duration(float64(time.Second) * float64(c.Lines) / c.Rate)
	for line := range c.Lines {
		s.wg.Go(func() {
			if err := s.line(line, every); err != nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.errs = append(s.errs, err)
			}
		})
	}
	return s
}

// End waits until all that was sent is acknowledged. An error tells what never was. It may be called once.
func (s *NAS) End() error {
	close(s.stop)
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.errs...)
}

func (s *NAS) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// line sends record after record, each when it is due and the one before was acknowledged, as a NAS does.
func (s *NAS) line(line int, every time.Duration) error {
	conn, err := s.c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	keyer := radpkt.NewKeyer(s.c.Secret)
	due := time.Now().Add(every * time.Duration(line) / time.Duration(s.c.Lines))
	for i := 0; ; i++ {
		select {
		case <-s.stop:
			return nil
		case <-time.After(time.Until(due)):
		}
		due = due.Add(every)
		e := Event{Session: fmt.Sprintf("%s-%d-%d", s.c.Name, line, i/s.c.PerSession), N: i % s.c.PerSession}
		if err := s.send(conn, keyer, e, byte(i)); err != nil {
			return fmt.Errorf("record %d of %s: %w", e.N, e.Session, err)
		}
		if s.stopped() {
			return nil
		}
	}
}

// send sends one record until it is acknowledged.
func (s *NAS) send(conn net.Conn, keyer *radpkt.Keyer, e Event, id byte) error {
	p := s.packet(keyer, e, id)
	book := &Told{First: time.Now()}
	s.mu.Lock()
	s.books[e] = book
	s.mu.Unlock()
	buf := make([]byte, radpkt.MaxSize)
	for range s.c.Tries {
		s.mu.Lock()
		book.Sends++
		book.Last = time.Now()
		s.mu.Unlock()
		_, _ = conn.Write(p) // refused while nobody listens
		if err := conn.SetReadDeadline(time.Now().Add(s.c.Resend)); err != nil {
			return err
		}
		for {
			n, err := conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err == nil && n >= radpkt.HeaderSize && buf[1] == id && keyer.CheckReply(buf[:n], [16]byte(p[4:radpkt.HeaderSize]), false) == nil {
				s.mu.Lock()
				book.Acked = true
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

func (s *NAS) packet(keyer *radpkt.Keyer, e Event, id byte) []byte {
	status := uint32(stub.AcctInterim)
	switch e.N {
	case 0:
		status = stub.AcctStart
	case s.c.PerSession - 1:
		status = stub.AcctStop
	}
	p := radpkt.Start(nil, radpkt.AccountingRequest, id)
	p = radpkt.AttrString(p, radpkt.UserName, "user-of-"+e.Session)
	p = radpkt.AttrUint32(p, radpkt.AcctStatusType, status)
	p = radpkt.AttrString(p, radpkt.AcctSessionID, e.Session)
	p = radpkt.AttrUint32(p, radpkt.AcctSessionTime, uint32(e.N))
	p = radpkt.AttrUint32(p, radpkt.AcctDelayTime, 0)
	keyer.SignRequest(p, [16]byte{})
	return p
}

// Books gives a copy of what the NAS knows of each record.
func (s *NAS) Books() map[Event]Told {
	s.mu.Lock()
	defer s.mu.Unlock()
	books := make(map[Event]Told, len(s.books))
	for e, b := range s.books {
		books[e] = *b
	}
	return books
}

// Sum gives how many records were acknowledged, and how often records were sent again.
func (s *NAS) Sum() (acked, again int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.books {
		again += b.Sends - 1
		if b.Acked {
			acked++
		}
	}
	return acked, again
}
