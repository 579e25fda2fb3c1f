package health

import "sync"

// maxQueued bounds what waits for a receiver that hangs. Changes of state are
// rare: it is reached only when nobody listens at all.
const maxQueued = 1 << 16

// queue hands values to one function, in order, once each, on a goroutine of its
// own, so that whoever has news never waits for whoever hears it.
type queue[T any] struct {
	mu     sync.Mutex
	wake   *sync.Cond
	values []T
	closed bool
	lost   uint64 // values that found the queue full; the oldest are kept
	done   chan struct{}
}

func newQueue[T any](f func(T)) *queue[T] {
	q := &queue[T]{done: make(chan struct{})}
	q.wake = sync.NewCond(&q.mu)
	go q.run(f)
	return q
}

func (q *queue[T]) put(v T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if len(q.values) >= maxQueued {
		q.lost++
		return
	}
	q.values = append(q.values, v)
	q.wake.Signal()
}

func (q *queue[T]) run(f func(T)) {
	defer close(q.done)
	for {
		q.mu.Lock()
		for len(q.values) == 0 && !q.closed {
			q.wake.Wait()
		}
		batch := q.values
		q.values = nil
		q.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		if f == nil {
			continue
		}
		for _, v := range batch {
			f(v)
		}
	}
}

// lostSoFar is how many values found the queue full.
func (q *queue[T]) lostSoFar() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// close lets what is queued be heard, and returns when it was.
func (q *queue[T]) close() {
	q.mu.Lock()
	q.closed = true
	q.wake.Signal()
	q.mu.Unlock()
	<-q.done
}
