package radiusfront

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sereno/proxy/radwire"
)

// booked is one record by its session and number.
type booked struct{ session, n uint32 }

// nasEntry is what the NAS knows of a record.
type nasEntry struct {
	first     time.Time      // when it was sent first
	firstLife int            // of the front, at that moment
	lives     map[int]sentTo // those that it was sent to
	acked     time.Time      // zero: never
	resent    int
}

// sentTo is how a record was sent to one process.
type sentTo struct {
	first time.Time
	times int
}

// nasBooks are those of all NASes.
type nasBooks struct {
	life atomic.Int64 // number of the front's process that lives, or of the next one

	mu      sync.Mutex
	entries map[booked]*nasEntry
}

func newNASBooks() *nasBooks { return &nasBooks{entries: map[booked]*nasEntry{}} }

// sending is called before a record is sent, and sent behind it: the process that gets it lived in between.
func (b *nasBooks) sending(r booked) {
	life := int(b.life.Load())
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[r]
	if e == nil {
		e = &nasEntry{first: time.Now(), firstLife: life, lives: map[int]sentTo{}, resent: -1}
		b.entries[r] = e
	}
	e.sentTo(life, 1)
	e.resent++
}

func (e *nasEntry) sentTo(life, times int) {
	v, was := e.lives[life]
	if !was {
		v.first = time.Now()
	}
	v.times += times
	e.lives[life] = v
}

func (b *nasBooks) sent(r booked) {
	life := int(b.life.Load())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[r].sentTo(life, 0)
}

func (b *nasBooks) acknowledged(r booked) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[r].acked = time.Now()
}

func (b *nasBooks) acked() map[booked]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[booked]bool{}
	for r, e := range b.entries {
		if !e.acked.IsZero() {
			out[r] = true
		}
	}
	return out
}

// arrival is one record at the backend.
type arrival struct {
	booked
	i        int    // its place in the books
	life     int    // of the process that sent it
	port     uint16 // of its socket
	at       time.Time
	spooled  bool // it comes from the spool, which adds Acct-Delay-Time
	answered bool
}

// socket is one of a process.
type socket struct {
	life int
	port uint16
}

// backendBooks are those of the backend, in the order of arrival.
type backendBooks struct {
	mu   sync.Mutex
	list []arrival
}

func (b *backendBooks) add(t *testing.T, r received, answered bool) {
	rec := bookedOf(t, r.raw)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, arrival{rec, len(b.list), lifeNumber(r.from.Addr()), r.from.Port(), time.Now(), len(attr(t, r.raw, radwire.AttrAcctDelayTime)) > 0, answered})
}

// all is what has arrived until now: what the kernel still holds may go on arriving.
func (b *backendBooks) all() []arrival {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}

// missing counts the acknowledged records that the backend has not answered yet:
// what it gets and keeps silent about is not its own.
func (b *backendBooks) missing(acked map[booked]bool) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	has := map[booked]bool{}
	for _, a := range b.list {
		if a.answered && acked[a.booked] {
			has[a.booked] = true
		}
	}
	return len(acked) - len(has)
}

// timerTick is how much earlier than it says a worker's timer may go off.
const timerTick = 20 * time.Millisecond

// inLife is a record as one process has it.
type inLife struct {
	booked
	life int
}

// judge demands the order of each session and a cause for every copy. Of a copy across a kill that is: the files that
// the killed process left still have the record, and that is right, because it took the answer after its last note.
// Nothing in this depends on how quick the machine and the disk are:
//   - Until when the notes must be complete (proven), two things show. The files say when their last note was taken. And
//     where records are acknowledged by the disk, the NAS knows: when it has the answer to a record, all that was over
//     when it sent it is in the file.
//   - That the process had taken an answer, its next packets show: the next record of the session comes only then, and a
//     socket's answers are taken in their order.
type judge struct {
	t      *testing.T
	ack    string
	list   []arrival
	books  *nasBooks
	deaths []death
	ready  []time.Time // by life: when its sockets were open

	proven   []time.Time          // by life
	followed map[inLife]time.Time // when the next record of the session came from the same process: so this one was over there
	taken    map[socket]int       // the last answer on it that is known to be taken before proven, and noted

	unanswered, killed, repeated, opening, late int
	held                                        int           // records that had to be noted at a death, and did not come again
	longest                                     time.Duration // of killed: from the answer to the death
	closest                                     time.Duration // of killed: by how much the answer's stamp was before proven, at most
}

func newJudge(t *testing.T, ack string, list []arrival, books *nasBooks, deaths []death, ready []time.Time) *judge {
	j := &judge{t: t, ack: ack, list: list, books: books, deaths: deaths, ready: ready, followed: map[inLife]time.Time{}, taken: map[socket]int{}}
	for _, d := range deaths {
		j.proven = append(j.proven, d.noted)
	}
	if ack == "after-spool" {
		for _, e := range books.entries {
			if l := e.firstLife; l < len(deaths) && !e.acked.IsZero() && e.acked.Before(deaths[l].alive) && e.first.After(j.proven[l]) {
				j.proven[l] = e.first
			}
		}
	}
	for _, a := range list {
		if a.n == 0 {
			continue
		}
		before := inLife{booked{a.session, a.n - 1}, a.life}
		if _, known := j.followed[before]; !known {
			j.followed[before] = a.at
		}
	}
	for _, a := range list {
		if next, ok := j.followed[inLife{a.booked, a.life}]; a.answered && a.spooled && ok && a.life < len(deaths) && next.After(a.at) && next.Before(j.proven[a.life]) {
			j.taken[socket{a.life, a.port}] = a.i
		}
	}
	return j
}

// mustBeNoted tells whether the process that got this answer was killed when the record's end stood in its files.
func (j *judge) mustBeNoted(a arrival) bool {
	last, known := j.taken[socket{a.life, a.port}]
	return a.answered && a.spooled && known && a.i <= last
}

// stored is how often a record may be in the files: each process takes it once from the NAS, and one that is opening
// its sockets perhaps twice: while only the first worker's is open that one gets it, and what the NAS sends again may
// be another's, who does not know that.
func (j *judge) stored(r booked) (once, twice int) {
	j.books.mu.Lock()
	defer j.books.mu.Unlock()
	for life, v := range j.books.entries[r].lives {
		once++
		if v.times > 1 && life < len(j.ready) && v.first.Before(j.ready[life]) {
			twice++
		}
	}
	return once, twice
}

func (j *judge) judge() {
	j.t.Helper()
	next, last, repeats := map[uint32]uint32{}, map[booked]arrival{}, map[inLife]int{}
	held := map[booked]bool{}
	for _, a := range j.list {
		before, copied := last[a.booked]
		last[a.booked] = a
		if j.mustBeNoted(a) {
			held[a.booked] = true
		}
		switch {
		case !copied && a.n == next[a.session]:
			next[a.session]++
		case !copied:
			j.t.Fatalf("session %d: record %d came before record %d", a.session, a.n, next[a.session])
		case !before.answered:
			j.unanswered++
		case before.life != a.life && j.left(before) > 0 && (before.spooled && !j.mustBeNoted(before) || j.askedLate(before)):
			j.killed++
			j.longest = max(j.longest, j.deaths[before.life].alive.Sub(before.at))
			j.closest = max(j.closest, j.proven[before.life].Sub(before.at))
		case before.life == a.life && a.spooled && j.askedLate(before):
			j.late++
		default:
			// The front stored it, was killed before it could say so, and another one stored it again: each
			// process that finds both delivers both.
			once, twice := j.stored(a.booked)
			repeats[inLife{a.booked, a.life}]++
			switch n := repeats[inLife{a.booked, a.life}]; {
			case n < once:
				j.repeated++
				continue
			case n < once+twice:
				j.opening++
				continue
			}
			j.t.Errorf("record %v came from process %d without a cause:%s", a.booked, a.life, j.story(a.booked))
		}
	}
	j.held = len(held)
}

// askedLate tells whether the backend was asked live, and not answered within attempt_timeout as the process saw it: so
// that stored the record. The NAS knows, which had no answer within that time either.
func (j *judge) askedLate(a arrival) bool {
	j.books.mu.Lock()
	defer j.books.mu.Unlock()
	e := j.books.entries[a.booked]
	sent, was := e.lives[a.life]
	return was && !a.spooled && (e.acked.IsZero() || e.acked.Sub(sent.first) >= crashAttempt-timerTick)
}

func (j *judge) left(a arrival) int {
	if a.life >= len(j.deaths) {
		return 0
	}
	return j.deaths[a.life].left[a.booked]
}

// story is all that is known of a record.
func (j *judge) story(r booked) string {
	type line struct {
		at   time.Time
		text string
	}
	e := j.books.entries[r]
	lines := []line{{e.acked, "acknowledged"}}
	for life, v := range e.lives {
		lines = append(lines, line{v.first, fmt.Sprintf("sent to process %d, %d times", life, v.times)})
		if life < len(j.ready) {
			lines = append(lines, line{j.ready[life], fmt.Sprintf("process %d is ready", life)})
		}
	}
	for life, d := range j.deaths {
		if n := d.left[r]; n > 0 || e.lives[life].times > 0 {
			lines = append(lines, line{d.alive, fmt.Sprintf("process %d is killed, its files have it %d times, and all that was over at %s had to be noted", life, n, stamp(j.proven[life]))})
		}
	}
	for _, a := range j.list {
		if a.booked == r {
			lines = append(lines, line{a.at, fmt.Sprintf("came from process %d, port %d, of the spool: %v, answered: %v", a.life, a.port, a.spooled, a.answered)})
		}
	}
	slices.SortFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	text := ""
	for _, l := range lines {
		text += "\n" + stamp(l.at) + " " + l.text
	}
	return text
}

func stamp(t time.Time) string { return t.Format("15:04:05.000000") }

// String is the copies by their causes.
func (j *judge) String() string {
	resent := 0
	for _, e := range j.books.entries {
		resent += e.resent
	}
	return fmt.Sprintf("sent again: %d because no answer came, %d because a kill came before the answer was noted (answered up to %v before the kill, and up to %v before all was noted), %d because the NAS repeated them to another process and %d to another worker of one that was opening its sockets (it repeated %d times in all), %d because a live answer came after attempt_timeout; %d answers had to be noted at a death and were",
		j.unanswered, j.killed, j.longest.Round(time.Millisecond/10), j.closest.Round(time.Millisecond/10), j.repeated, j.opening, resent, j.late, j.held)
}
