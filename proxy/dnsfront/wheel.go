package dnsfront

import "time"

const (
	wheelStep  = int64(10 * time.Millisecond)
	wheelSlots = 1024
)

// wheel holds the flights of one worker by the time at which something has to be done
// for them, to wheelStep. A flight is in it exactly once from its start to its end.
type wheel struct {
	slots [wheelSlots]*flight
	at    int64 // steps that are done
	n     int
}

func (w *wheel) init() { *w = wheel{} }

// add puts a flight in for f.due, which may be in the past: then it is next.
func (w *wheel) add(f *flight) {
	step := max((f.due+wheelStep-1)/wheelStep, w.at+1)
	f.slot = int(step % wheelSlots)
	f.prev, f.succ = nil, w.slots[f.slot]
	if f.succ != nil {
		f.succ.prev = f
	}
	w.slots[f.slot] = f
	w.n++
}

func (w *wheel) remove(f *flight) {
	if f.prev != nil {
		f.prev.succ = f.succ
	} else {
		w.slots[f.slot] = f.succ
	}
	if f.succ != nil {
		f.succ.prev = f.prev
	}
	f.prev, f.succ = nil, nil
	w.n--
}

// advance calls fire for every flight that is due at now. fire must take it out, or
// leave it in with another due, and may do so with any other flight too.
func (w *wheel) advance(now int64, fire func(f *flight)) {
	to := now / wheelStep
	if w.n == 0 {
		w.at = to
		return
	}
	if to-w.at > wheelSlots { // we slept for longer than a round
		w.at = to - wheelSlots
	}
	for w.at < to {
		w.at++
		slot := int(w.at % wheelSlots)
		for again := true; again; {
			again = false
			for f := w.slots[slot]; f != nil; f = f.succ {
				if f.due <= now {
					fire(f)
					again = true // the list has changed
					break
				}
			}
		}
	}
}

// repeat has the last step done again, because it was not done to its end.
func (w *wheel) repeat() { w.at-- }

// each calls f for every flight; f may take that one out or move it.
func (w *wheel) each(f func(*flight)) {
	var all []*flight
	for i := range w.slots {
		for x := w.slots[i]; x != nil; x = x.succ {
			all = append(all, x)
		}
	}
	for _, x := range all {
		if !x.ended {
			f(x)
		}
	}
}
