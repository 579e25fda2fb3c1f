package load

import (
	"fmt"
	"io"
	"time"
)

// Fate is what became of a reply.
type Fate uint8

// The fates. Right is the only good one.
const (
	Right          Fate = iota
	Malformed           // does not parse
	WrongQuestion       // DNS: not the question that was asked
	WrongRcode          // DNS: an rcode that the name does not ask for, SERVFAIL apart
	Failed              // DNS: SERVFAIL
	WrongRecords        // DNS: other records than the name asks for
	WrongTTL            // DNS: a TTL above the name's
	Cut                 // DNS: TC=1 where the whole answer would fit
	WrongSignature      // RADIUS: an authenticator that does not verify, or is missing
	WrongVerdict        // RADIUS: a code that the user's name does not ask for
	WrongReply          // RADIUS: attributes other than those that the user's name asks for
	fates
)

var fateNames = [fates]string{
	"right", "malformed", "wrong question", "wrong rcode", "SERVFAIL", "wrong records", "wrong TTL", "truncated",
	"wrong authenticator", "wrong verdict", "wrong attributes",
}

// String is the fate in words.
func (f Fate) String() string {
	if f < fates {
		return fateNames[f]
	}
	return fmt.Sprintf("fate(%d)", uint8(f))
}

// Books account for every request once: Sent = Answered + Wrong + Lost + Waiting.
type Books struct {
	Sent     uint64 // requests; resends do not count
	Answered uint64 // with the right answer
	Wrong    uint64 // the last answer was not right
	Lost     uint64 // no answer within the timeout
	Waiting  uint64 // still within it

	Resent  uint64        // the same request sent again
	Late    uint64        // replies to what was counted already (answers to resends, mostly)
	Refused uint64        // errors that the kernel reported on the sockets (ICMP port unreachable)
	Fates   [fates]uint64 // replies by fate, also those of requests that were then answered rightly
	Faulty  []string      // the first few replies that were not right, in words

	Latency Histogram     // of the right answers, from when the request was due
	Lag     Histogram     // how late the generator itself sent each request
	Behind  time.Duration // how late the generator itself was at most: above some ms its machine is too busy
	Elapsed time.Duration // from the first request's due time to the last's
}

// Clean says whether every request was answered rightly.
func (b *Books) Clean() bool { return b.Lost == 0 && b.Wrong == 0 && b.Waiting == 0 }

// Add adds another generator's books, of the same time.
func (b *Books) Add(o *Books) {
	b.Sent += o.Sent
	b.Answered += o.Answered
	b.Wrong += o.Wrong
	b.Lost += o.Lost
	b.Waiting += o.Waiting
	b.Resent += o.Resent
	b.Late += o.Late
	b.Refused += o.Refused
	for i, n := range o.Fates {
		b.Fates[i] += n
	}
	b.Faulty = append(b.Faulty[:len(b.Faulty):len(b.Faulty)], o.Faulty...)
	b.Latency.Merge(&o.Latency)
	b.Lag.Merge(&o.Lag)
	b.Behind = max(b.Behind, o.Behind)
	b.Elapsed = max(b.Elapsed, o.Elapsed)
}

// Since gives what was booked after before was taken, a copy of the same books. Waiting, Behind and Faulty are those
// of b.
func (b *Books) Since(before *Books) Books {
	d := *b
	d.Sent -= before.Sent
	d.Answered -= before.Answered
	d.Wrong -= before.Wrong
	d.Lost -= before.Lost
	d.Resent -= before.Resent
	d.Late -= before.Late
	d.Refused -= before.Refused
	for i := range d.Fates {
		d.Fates[i] -= before.Fates[i]
	}
	d.Latency = b.Latency.Since(&before.Latency)
	d.Lag = b.Lag.Since(&before.Lag)
	d.Elapsed -= before.Elapsed
	return d
}

// String is the books in one line.
func (b *Books) String() string {
	return fmt.Sprintf("%d sent, %d answered, %d lost, %d wrong, %d resent; p50 %s, p99 %s, max %s",
		b.Sent, b.Answered, b.Lost, b.Wrong, b.Resent,
		short(b.Latency.Quantile(0.5)), short(b.Latency.Quantile(0.99)), short(b.Latency.Max()))
}

// Table writes the books as aligned lines of at most 80 columns.
func (b *Books) Table(w io.Writer) error {
	rate := 0.0
	if b.Elapsed > 0 {
		rate = float64(b.Sent) / b.Elapsed.Seconds()
	}
	_, err := fmt.Fprintf(w, "sent      %10d  in %s (%.0f/s)\nanswered  %10d\nlost      %10d\nwrong     %10d\nresent    %10d\n",
		b.Sent, short(b.Elapsed), rate, b.Answered, b.Lost, b.Wrong, b.Resent)
	if err != nil {
		return err
	}
	for f, n := range b.Fates {
		if n == 0 || Fate(f) == Right {
			continue
		}
		if _, err := fmt.Fprintf(w, "          %10d  %s\n", n, Fate(f)); err != nil {
			return err
		}
	}
	l := &b.Latency
	_, err = fmt.Fprintf(w, "latency   p50 %s, p90 %s, p99 %s, p99.9 %s, max %s\nbehind    %10s  at most, the generator itself\n",
		short(l.Quantile(0.5)), short(l.Quantile(0.9)), short(l.Quantile(0.99)), short(l.Quantile(0.999)), short(l.Max()), short(b.Behind))
	return err
}

// short rounds a duration to three digits.
func short(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
