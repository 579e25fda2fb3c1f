package lab

import (
	"cmp"
	"fmt"
	"slices"

	"sereno/bench/internal/nas"
	"sereno/bench/internal/servers"
)

// written is a record in the servers' books.
type written struct {
	servers.DetailRecord
	site, server int
	place        int // in its file
	copies       int // in all files
}

// accounts compares the books of the NAS with those of the servers: what was acknowledged is there, in order for each
// session as far as one site wrote it (sites share nothing), and nothing is there that was never sent.
func (s *soak) accounts() error {
	told := s.nas.Books()
	first := map[nas.Event]written{}
	for site := 1; site <= s.sites; site++ {
		for number := 1; number <= 2; number++ {
			records, err := servers.ReadDetail(detailFile(site, number))
			if err != nil {
				return err
			}
			for i, r := range records {
				e := nas.Event{Session: r.Session, N: r.SessionTime}
				w := written{DetailRecord: r, site: site, server: number, place: i}
				old, ok := first[e]
				if !ok || w.Timestamp < old.Timestamp {
					old.DetailRecord, old.site, old.server, old.place = w.DetailRecord, w.site, w.server, w.place
				}
				old.copies++
				first[e] = old
			}
		}
	}
	s.compare(told, first)
	return s.log.accounting(told, first)
}

// compare tells what does not fit.
func (s *soak) compare(told map[nas.Event]nas.Told, first map[nas.Event]written) {
	var events []nas.Event
	var lost, silent []nas.Event
	for e, t := range told {
		w, ok := first[e]
		switch {
		case ok:
			events = append(events, e)
			s.tally.copies += w.copies - 1
		case t.Acked:
			lost = append(lost, e)
		}
		if !t.Acked {
			silent = append(silent, e)
		}
		s.tally.resent += t.Sends - 1
	}
	s.tally.acked, s.tally.written = len(told)-len(silent), len(events)
	slices.SortFunc(events, func(a, b nas.Event) int { return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.N, b.N)) })
	if len(lost) > 0 {
		s.broke("accounting: %d of %d acknowledged records are in no server's books, %v first sent at %s", len(lost), s.tally.acked, lost[0], told[lost[0]].First.Sub(s.start))
	}
	if len(silent) > 0 {
		s.broke("accounting: %d records were never acknowledged, for example %v", len(silent), silent[0])
	}
	for e := range first {
		if _, ok := told[e]; !ok {
			s.broke("accounting: %v is in the books, and was never sent", e)
		}
	}
	for i := 1; i < len(events); i++ {
		a, b := events[i-1], events[i]
		if a.Session == b.Session {
			if why := disorder(first[a], first[b]); why != "" {
				s.broke("accounting: %v was written after the next record of its session, %s (first sent at %s)", a, why, told[a].First.Sub(s.start))
			}
		}
	}
}

// disorder says in which way two records that follow one another were not written in order, "" when they were. They are
// the first copies of each: one that a server wrote late, when another had the record, is no disorder.
func disorder(a, b written) string {
	switch {
	case a.site != b.site:
		return ""
	case a.Timestamp > b.Timestamp:
		return fmt.Sprintf("%d s later, at site %d", a.Timestamp-b.Timestamp, a.site)
	case a.server == b.server && a.place > b.place:
		return fmt.Sprintf("by server %d of site %d", a.server, a.site)
	}
	return ""
}
