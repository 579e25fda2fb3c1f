package radiusfront

// A panic costs the packet that caused it. It is caught around the batch
// (worker.go), not around the packet, so that a packet pays nothing for it: the
// worker notes which request it has at hand, and mend puts that one in order. A
// backend's reply that makes us panic costs the request that waited for it: its NAS
// asks again. Other locks below the worker's are held with defer.

// maxFaults is how many panics one turn takes before it leaves the rest to the
// next.
const maxFaults = 8

// protected does something with mu held. false: it panicked on the way.
func (w *worker) protected(do func()) (done bool) {
	w.begin()
	defer func() {
		if fault := recover(); fault != nil {
			w.service.faults.Caught(fault, nil)
			w.mend()
			w.wheel.repeat()
			w.leaving = true // perhaps not all have moved
		}
		w.end()
	}()
	do()
	return true
}

// mend puts the request at hand in order after a panic. mu is held.
func (w *worker) mend() {
	if e := w.entry; e != nil {
		w.abandon(e)
		w.entry = nil
	}
	w.book.settle()
}

// abandon drops the request of an entry that something panicked over.
func (w *worker) abandon(e *entry) {
	defer func() {
		if fault := recover(); fault != nil {
			w.service.faults.Caught(fault, nil)
			w.bury(e)
		}
	}()
	if e.flight != nil {
		w.drop(e, ReasonPanic)
		return
	}
	w.forget(e)
}

// bury takes an entry out of every table that cannot even be dropped. Neither it
// nor its flight is used again: identifiers may still lead to them.
func (w *worker) bury(e *entry) {
	w.table.remove(e)
	w.wheel.remove(e)
	if f := e.flight; f != nil {
		e.flight = nil
		f.client.inFlight.Add(-1)
		w.service.inFlight.Add(-1)
		w.book.inFlight[e.kind]--
	}
}
