package lab

import (
	"fmt"
	"strings"
	"time"

	"sereno/bench/load"
)

// verdict writes the figures, and, as the last line, whether all held.
func (s *soak) verdict() bool {
	var asked, logins load.Books
	for i, a := range s.askers {
		b := a.books()
		if i < len(s.final) {
			b = s.final[i]
		}
		if a.dns {
			asked.Add(&b)
		} else {
			logins.Add(&b)
		}
		s.say("%s: %s", a.name, &b)
	}
	s.say("accounting: %d acknowledged, %d in the servers' books, %d copies, %d sent again by the NAS", s.tally.acked, s.tally.written, s.tally.copies, s.tally.resent)
	scrapes := 0
	if m := s.samples; m != nil {
		scrapes = m.balanced
		for _, w := range m.unbalanced {
			s.broke("counters: %s", w)
		}
		if scrapes == 0 && !s.interrupted {
			s.broke("no scrape")
		}
		for name, text := range m.never {
			s.broke("%s: %s", name, text)
		}
	}
	flat := s.flat()
	did := fmt.Sprintf("%s, seed %d, %d events (%d excused): DNS %d asked, %d answered, %d lost, %d wrong; logins %d, %d decided rightly, %d lost, %d wrong; accounting %d acknowledged, %d written; counters balanced in %d scrapes; %s",
		s.options.For, s.options.Seed, s.events, s.excused, asked.Sent, asked.Answered, asked.Lost, asked.Wrong, logins.Sent, logins.Answered, logins.Lost, logins.Wrong,
		s.tally.acked, s.tally.written, scrapes, flat)
	if s.interrupted {
		s.say("VERDICT: INTERRUPTED, and the books not compared; %d things did not hold; %s", len(s.broken), did)
		return false
	}
	if len(s.broken) > 0 {
		s.say("VERDICT: BROKEN (%d), first: %s; %s", len(s.broken), s.broken[0], did)
		return false
	}
	s.say("VERDICT: HELD: %s", did)
	return true
}

// flat holds the node that lived all the time to what it was like when it was warm.
func (s *soak) flat() string {
	if s.samples == nil || s.options.For < flatAfter {
		return fmt.Sprintf("growth not judged, in less than %s", flatAfter)
	}
	var words []string
	for _, g := range s.samples.growth(1, s.options.For) {
		if g.late > g.most || g.early == 0 {
			s.broke("node 1: %s, of at most %.4g", g, g.most)
		}
		words = append(words, g.String())
	}
	return "node 1: " + strings.Join(words, ", ")
}

// progressEvery is how often the soak tells how far it is.
const progressEvery = time.Minute

// progress tells how far it is, once a minute.
func (s *soak) progress() {
	at := time.Since(s.start)
	s.log.books(at, s)
	if at-s.told < progressEvery {
		return
	}
	s.told = at
	var asked, logins uint64
	for _, a := range s.askers {
		if b := a.books(); a.dns {
			asked += b.Answered
		} else {
			logins += b.Answered
		}
	}
	acked, _ := s.nas.Sum()
	s.say("   %s of %s: %d queries and %d logins answered, %d accounting records acknowledged, %d things did not hold",
		at.Round(time.Second), s.options.For, asked, logins, acked, len(s.broken))
}
