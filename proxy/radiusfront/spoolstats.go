package radiusfront

import (
	"errors"
	"time"

	"sereno/proxy/radiusfront/spool"
)

// Resend is why a backend may get a copy of a record that it has already.
type Resend uint8

// The reasons.
const (
	ResendSilent Resend = iota // no answer within 2 s: the same bytes to the same backend
	ResendAnew                 // three of them unanswered: a new identifier, perhaps another backend
	ResendLive                 // backends were asked when it came, in vain, and it was stored then
	NumResends
)

// String is the reason as a metric's label.
func (r Resend) String() string {
	return [...]string{ResendSilent: "silent", ResendAnew: "anew", ResendLive: "asked-live"}[r]
}

// SpoolStats are the figures of a service's spool (R45). What is counted is
// counted since the spool was opened.
type SpoolStats struct {
	Records       int64 // to be delivered
	Bytes         int64
	OldestSeconds float64 // 0: empty
	Aside         int64   // set aside: no backend acknowledged them
	Disk          int64   // bytes of all files
	Max           int64   // spool_max
	Used          float64 // share of it that is taken; admission goes by this (R43)
	Accepts       bool
	Error         string // of the disk or of opening it, "" while it works
	Unopened      bool   // it could not be opened: Error says why
	Foreign       bool   // that is because the directory is another node's
	Stored        uint64
	Recovered     uint64 // found when it was opened; what an earlier process delivered just before its end is sent again
	Delivered     uint64
	PerSecond     float64            // delivered, in the last ten seconds
	Resent        [NumResends]uint64 // copies, by reason
	SetAside      uint64
	Damaged       uint64
	Coalesced     uint64
	Cancelled     uint64            // taken back, since a backend answered after all
	Dropped       uint64            // by an operator
	Refused       map[string]uint64 // by a spool that was full, by class: interim, start, stop
	Failed        uint64            // by its disk
}

// ResentInAll is the sum over all reasons.
func (s *SpoolStats) ResentInAll() (n uint64) {
	for _, v := range s.Resent {
		n += v
	}
	return n
}

// SpoolStats are nil without a spool. They cost less than Stats.
func (s *Service) SpoolStats() *SpoolStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spoolStats()
}

// spoolStats is nil without a spool. mu is held.
func (s *Service) spoolStats() *SpoolStats {
	if s.spoolError != nil {
		return &SpoolStats{Error: s.spoolError.Error(), Unopened: true, Foreign: errors.Is(s.spoolError, spool.ErrForeign)}
	}
	sp := s.spool.Load()
	if sp == nil {
		return nil
	}
	st := sp.Stats()
	out := &SpoolStats{
		Records: st.Records, Bytes: st.Bytes, OldestSeconds: st.Oldest.Seconds(), Aside: st.Aside, Disk: st.Disk, Max: st.Max,
		Used: float64(st.Used) / float64(st.Max), Accepts: st.Accepts && s.spoolOn.Load(),
		Stored: st.Stored, Recovered: st.Recovered, Delivered: st.Delivered, SetAside: st.SetAside, Damaged: st.Damaged, Coalesced: st.Coalesced,
		Cancelled: st.Cancelled, Dropped: st.Dropped, Failed: st.Failed, Refused: map[string]uint64{},
	}
	for c, n := range st.Refused {
		out.Refused[spool.Class(c).String()] = n
	}
	if st.Error != nil {
		out.Error = st.Error.Error()
	}
	out.Resent[ResendLive] = s.askedLive.Load()
	if d := s.deliverer; d != nil {
		out.Resent[ResendSilent], out.Resent[ResendAnew] = d.resent[ResendSilent].Load(), d.resent[ResendAnew].Load()
		d.rateMu.Lock()
		out.PerSecond = d.rate.perSecond()
		d.rateMu.Unlock()
	}
	return out
}

// rateOver is the time over which the delivery rate is measured.
const rateOver = 10 * time.Second

const rateSamples = int(rateOver/time.Second) + 1

// rate remembers a counter as it stood in the last seconds. It belongs to its
// user's lock.
type rate struct {
	at     [rateSamples]time.Time // real time, one a second; the oldest is at next
	counts [rateSamples]uint64
	next   int
}

// sample notes the counter, once a second.
func (r *rate) sample(now time.Time, count uint64) {
	last := (r.next + len(r.at) - 1) % len(r.at)
	if !r.at[last].IsZero() && now.Sub(r.at[last]) < time.Second {
		return
	}
	r.at[r.next], r.counts[r.next] = now, count
	r.next = (r.next + 1) % len(r.at)
}

// perSecond is the rate between the oldest and the newest sample.
func (r *rate) perSecond() float64 {
	last := (r.next + len(r.at) - 1) % len(r.at)
	first := r.next
	for r.at[first].IsZero() && first != last {
		first = (first + 1) % len(r.at)
	}
	if d := r.at[last].Sub(r.at[first]); d > 0 {
		return float64(r.counts[last]-r.counts[first]) / d.Seconds()
	}
	return 0
}
