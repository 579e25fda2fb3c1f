package app

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	maxUnread   = 1 << 20     // bytes of lines that wait for whoever reads the log
	flushWithin = time.Second // for the last lines; an end does not wait longer
)

// logLines hands lines to w on a goroutine of its own, which there is only while
// lines wait: a journal that hangs, or a terminal that was stopped, holds up no
// verdict, no route and no answer. What finds maxUnread waiting is lost, counted,
// and told when the rest has been taken. Safe for concurrent use.
type logLines struct {
	w    io.Writer
	tell func(lost uint64) // logs how many lines were lost

	mu      sync.Mutex
	waiting []byte
	lost    uint64
	untold  uint64        // of lost
	idle    chan struct{} // closed when nothing waits any more; nil: nothing does
}

// Write takes whole lines. It never waits and never fails.
func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting)+len(p) > maxUnread {
		l.lose(p)
		return len(p), nil
	}
	l.waiting = append(l.waiting, p...)
	if l.idle == nil {
		l.idle = make(chan struct{})
		go l.write()
	}
	return len(p), nil
}

// lose counts lines that nobody gets. mu is held.
func (l *logLines) lose(p []byte) {
	n := uint64(bytes.Count(p, []byte("\n")))
	l.lost += n
	l.untold += n
}

func (l *logLines) write() {
	failed := false
	for {
		l.mu.Lock()
		batch, untold := l.waiting, l.untold
		l.waiting = nil
		if len(batch) == 0 && (untold == 0 || failed) {
			close(l.idle)
			l.idle = nil
			l.mu.Unlock()
			return
		}
		if len(batch) == 0 {
			l.untold = 0
		}
		l.mu.Unlock()
		if len(batch) == 0 {
			l.tell(untold)
			continue
		}
		_, err := l.w.Write(batch)
		if failed = err != nil; failed {
			l.mu.Lock()
			l.lose(batch)
			l.mu.Unlock()
		}
	}
}

// Sync waits until everything is written, or until flushWithin is over.
func (l *logLines) Sync() error {
	l.mu.Lock()
	idle := l.idle
	l.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
	case <-time.After(flushWithin):
	}
	return nil
}

// Lost is how many lines were lost so far.
func (l *logLines) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}
