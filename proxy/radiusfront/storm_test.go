package radiusfront

import (
	"sync"
	"testing"
	"time"

	"layeh.com/radius"

	"sereno/proxy/pool"
	"sereno/proxy/radwire"
)

// TestR37EverySubscriberAtOnce: a concentrator restarts and all its
// subscribers log in, retrying as NASes do, at two backends that take few
// requests at a time. Bounds hold all the while, and everybody gets in.
func TestR37EverySubscriberAtOnce(t *testing.T) {
	const (
		ports, perPort = 20, 100 // 2000 subscribers
		most           = 50      // max_in_flight of a backend
		bound          = 400     // of the client
	)
	slow := func(s *server) func(r received) []byte {
		var mu sync.Mutex
		at := 0
		return func(r received) []byte {
			mu.Lock()
			at++
			n := at
			mu.Unlock()
			if n%20 == 0 { // a busy server loses some
				return nil
			}
			return accept(r)
		}
	}
	servers := []*server{newServer(t, nil), newServer(t, nil)}
	for _, s := range servers {
		s.setAnswer(slow(s))
	}
	f := newFront(t, setup{backends: servers, workers: 2, config: func(c *Config) { c.Clients[0].MaxInFlight = bound },
		backend: func(c *pool.BackendConfig) { c.MaxInFlight = most }, options: func(o *Options) { o.Now = time.Now },
		pool: func(c *pool.Config) {
			c.AttemptTimeout, c.Timeout = 100*time.Millisecond, 500*time.Millisecond
		}})
	stop := make(chan struct{})
	var watch, clients sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			st := f.balanced()
			if st.InFlight[KindAuth] > bound {
				t.Errorf("%d in flight", st.InFlight[KindAuth])
			}
			for _, b := range f.auth.Backends() {
				if n := b.InFlight(); n > most+1 { // a Pick that is turned down counts itself for an instant
					t.Errorf("%s has %d", b.Name(), n)
				}
			}
			time.Sleep(time.Millisecond) // polls; no timing is proven by it
		}
	})
	for range ports {
		n := newNAS(t, f.authAddr())
		clients.Go(func() {
			open := map[byte][]byte{}
			for id := range perPort {
				open[byte(id)] = signed(radwire.AccessRequest, byte(id), nasSecret, avp(1, "alice"), avp(31, string(rune(id))))
			}
			buf := make([]byte, 8192)
			for deadline := time.Now().Add(testTimeout); len(open) > 0; {
				if time.Now().After(deadline) {
					t.Errorf("%d subscribers are not in", len(open))
					return
				}
				for _, req := range open {
					n.send(req)
				}
				_ = n.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				for {
					m, err := n.conn.Read(buf)
					if err != nil {
						break
					}
					if req := open[buf[1]]; req != nil {
						if !radius.IsAuthenticResponse(buf[:m], req, []byte(nasSecret)) || buf[0] != byte(radwire.AccessAccept) {
							t.Errorf("answer of code %d", buf[0])
						}
						delete(open, buf[1])
					}
				}
			}
		})
	}
	clients.Wait()
	close(stop)
	watch.Wait()
	st := f.until("nothing in flight", func(st *Stats) bool { return st.InFlight[KindAuth] == 0 })
	if st.Answers[KindAuth][AnswerReject] != [NumSources]uint64{} {
		t.Error("a reject of nobody's making")
	}
}
