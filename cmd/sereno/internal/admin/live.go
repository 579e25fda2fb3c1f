package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Names of the frames that the live stream has beside events, as an EventSource hears them.
const (
	frameStatus = "status" // a Status: at the start, and when more than counters has changed
	frameSample = "sample" // a History of one column, every two seconds
)

const (
	feedBuffer = 16                     // frames that a subscriber may be behind
	settle     = 100 * time.Millisecond // from an event to the status that has it: others come with it
)

// feed gives frames to the live streams. Frames are made once for all, and not at all
// while nobody listens.
type feed struct {
	mu   sync.Mutex
	subs map[chan []byte]struct{}
	last []byte // the status that was sent last, without what always changes
}

func (f *feed) subscribe() chan []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	sub := make(chan []byte, feedBuffer)
	f.subs[sub] = struct{}{}
	f.last = nil // what the others have seen is nothing to go by
	return sub
}

func (f *feed) unsubscribe(sub chan []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.subs, sub)
}

// idle tells whether nobody listens.
func (f *feed) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs) == 0
}

// news tells whether an image of the status is another than the last one.
func (f *feed) news(image []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if bytes.Equal(image, f.last) {
		return false
	}
	f.last = image
	return true
}

// send never blocks. Whoever is too far behind is closed: he comes back and begins anew.
func (f *feed) send(frame []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for sub := range f.subs {
		select {
		case sub <- frame:
		default:
			delete(f.subs, sub)
			close(sub)
		}
	}
}

// frame is a server-sent event with a name.
func frame(name string, body any) ([]byte, error) {
	data, err := json.Marshal(body) // in one line
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{[]byte("event: " + name + "\ndata: "), data, []byte("\n\n")}, nil), nil
}

// still is a status without what changes all the time: two that are equal look the same.
func still(s Status) Status {
	services := append(List[Service](nil), s.Services...)
	for i := range services {
		v := &services[i]
		v.Requests, v.Answers, v.Drops, v.InFlight, v.Cache, v.Spool = 0, 0, 0, 0, nil, nil
	}
	pools := append(List[Pool](nil), s.Pools...)
	for i := range pools {
		backends := append(List[Backend](nil), pools[i].Backends...)
		for j := range backends {
			b := &backends[j]
			b.InFlight, b.Latency, b.LastProbe.At = 0, 0, Time{}
			b.Share = Ratio(int(b.Share*10)) / 10 // slow start is shown in ten steps
		}
		pools[i].Backends = backends
	}
	neighbors := append(List[Neighbor](nil), s.BGP.Neighbors...)
	for i := range neighbors {
		neighbors[i].LeaseMargin = 0
	}
	s.Services, s.Pools, s.BGP.Neighbors = services, pools, neighbors
	return s
}

// record keeps the history and feeds the live streams until stop is closed.
func (s *Server) record(stop <-chan struct{}) {
	every := time.NewTicker(kept[0].step)
	defer every.Stop()
	soon := time.NewTimer(time.Hour)
	defer soon.Stop()
	for {
		select {
		case <-stop:
			return
		case <-every.C:
			s.guarded(s.sample)
			s.guarded(s.look)
		case <-s.changed:
			soon.Reset(settle)
		case <-soon.C:
			s.guarded(s.look)
		}
	}
}

// guarded runs f: a fault in it costs this run of it, not the node.
func (s *Server) guarded(f func()) {
	defer func() {
		if fault := recover(); fault != nil {
			s.panics.Add(1)
			s.log.Error("admin: recording failed by a fault of ours", zap.Any("fault", fault), zap.ByteString("stack", debug.Stack()))
		}
	}()
	f()
}

// sample takes a sample and sends it.
func (s *Server) sample() {
	snapshot := s.snapshot()
	samples := s.recorder.take(s.now(), &snapshot)
	if s.feed.idle() {
		return
	}
	for i := range samples {
		samples[i].Node = s.name
		s.sendFrame(frameSample, samples[i])
	}
}

// look sends the status if it looks different from the last one.
func (s *Server) look() {
	if s.feed.idle() {
		return
	}
	status := s.node.Status()
	if image, err := json.Marshal(still(status)); err == nil && s.feed.news(image) {
		s.sendFrame(frameStatus, status)
	}
}

func (s *Server) sendFrame(name string, body any) {
	f, err := frame(name, body)
	if err != nil {
		s.log.Error("admin: the live stream", zap.Error(err))
		return
	}
	s.feed.send(f)
}

// live serves GET /api/v1/live: the event stream with the status and samples in it, which
// is all that a page needs to stay true.
func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	s.follow(w, r, func(sub *subscriber, missed []stamped, to *eventWriter) {
		frames := s.feed.subscribe()
		defer s.feed.unsubscribe(frames)
		var status Status
		if !s.bounded(r, func() { status = s.node.Status() }) {
			return
		}
		first, err := frame(frameStatus, status)
		if err != nil || to.send(string(first)) != nil {
			return
		}
		s.stream(r, sub, missed, frames, to)
	})
}
