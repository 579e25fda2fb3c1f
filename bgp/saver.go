package bgp

import (
	"bytes"
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

// saveEvery is how often the memory is written although nothing changed, so
// that an unclean end is dated well enough for "within the last hour".
const saveEvery = 30 * time.Second

// saver writes the newest memory to the disk on a goroutine of its own, because
// a disk may take seconds and a withdrawal may not.
type saver struct {
	dir  string
	log  *zap.Logger
	wake chan struct{}

	mu      sync.Mutex
	pending []byte
	written []byte
	failed  time.Time // since when the disk refuses; zero: it does not
	err     error
}

func newSaver(dir string, log *zap.Logger) *saver {
	return &saver{dir: dir, log: log, wake: make(chan struct{}, 1)}
}

// put leaves b to be written; an older one that was not written yet is dropped.
func (s *saver) put(b []byte) {
	s.mu.Lock()
	s.pending = b
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *saver) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			_ = s.flush() // kept for the alarm
		}
	}
}

// flush writes what is pending.
func (s *saver) flush() error {
	s.mu.Lock()
	b := s.pending
	s.pending = nil
	same := b == nil || bytes.Equal(b, s.written)
	s.mu.Unlock()
	if same {
		return nil
	}
	err := saveMemory(s.dir, b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.written, s.failed, s.err = b, time.Time{}, nil
		return nil
	}
	if s.failed.IsZero() {
		s.failed = time.Now()
		s.log.Error("the memory of flaps cannot be written; routes go on, but a restart would not know of the flaps", zap.Error(err))
	}
	s.err = err
	return err
}

func (s *saver) alarm() (Alarm, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed.IsZero() {
		return Alarm{}, false
	}
	return Alarm{Name: AlarmStateUnwritable, Since: s.failed.UTC(), Text: s.err.Error()}, true
}
