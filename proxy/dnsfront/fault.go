package dnsfront

// A panic costs the packet that caused it. It is caught around the batch (worker.go), not
// around the packet, so that a packet pays nothing for it: the worker notes what it has at
// hand, and mend puts that in order. Everybody else who waits is answered. Locks below the
// book's are held with defer.

// maxFaults is how many panics one turn takes before it leaves the rest to the next.
const maxFaults = 8

// owe notes waiters that were taken out of a flight and are to be answered, and returns
// how many older ones there are.
func (w *worker) owe(waiters []*waiter) (older int) {
	older = len(w.owed)
	w.owed = append(w.owed, waiters...)
	return older
}

// next takes the last waiter that is owed an answer.
func (w *worker) next() *waiter {
	last := len(w.owed) - 1
	w.given, w.owed[last] = w.owed[last], nil
	w.owed = w.owed[:last]
	return w.given
}

// mend puts in order what was at hand when something panicked; the book is locked. Who
// waits for an answer gets SERVFAIL, or by way of flight what another backend says.
func (w *worker) mend(flight func(*flight)) {
	f, entered := w.flight, w.entered
	w.flight, w.entered = nil, nil
	if entered != nil {
		waiters := w.s.table.remove(entered)
		w.s.load.Add(-int64(len(waiters)))
		w.owe(waiters)
	}
	if w.given != nil {
		w.owed = append(w.owed, w.given)
		w.given = nil
	}
	if f != nil && !f.ended {
		flight(f)
	}
	for len(w.owed) > 0 {
		w.failOwed()
	}
	w.book.settle()
}

// goOn asks another backend for a flight whose reply was lost by a panic.
func (w *worker) goOn(f *flight) {
	defer func() {
		if fault := recover(); fault != nil {
			w.s.faults.Caught(fault, nil)
			if w.given != nil {
				w.owed = append(w.owed, w.given)
				w.given = nil
			}
			w.abort(f)
		}
	}()
	if len(f.open) == 0 {
		w.attemptFailed(f, false, false)
	}
}

// abort ends a flight that cannot go on.
func (w *worker) abort(f *flight) {
	if !f.ended {
		w.owe(w.end(f))
	}
}

// failOwed answers one of those who are owed an answer with SERVFAIL.
func (w *worker) failOwed() {
	wt := w.next()
	defer func() {
		if fault := recover(); fault != nil {
			w.s.faults.Caught(fault, nil)
			if w.given != nil { // its transport's count is all that is left to do for it
				w.given = nil
				w.book.InFlight[wt.transport]--
			}
		}
	}()
	w.giveFailure(wt, failFault)
}
