package load

import (
	"strings"
	"testing"
	"time"

	"sereno/bench/stub"
)

func radiusBooks(t testing.TB, c RADIUSConfig) (*RADIUS, Books) {
	t.Helper()
	r, err := NewRADIUS(c)
	if err != nil {
		t.Fatal(err)
	}
	return r, must(t, r.Run)
}

func TestRADIUSEveryMethodIsAnsweredRightly(t *testing.T) {
	s, target := newServer(t)
	for name, c := range map[string]RADIUSConfig{
		"PAP":        {PAP: 1},
		"CHAP":       {CHAP: 1},
		"rejects":    {PAP: 1, CHAP: 1, Reject: 3},
		"accounting": {Acct: 1},
		"mixed":      {PAP: 2, CHAP: 1, Acct: 3, Users: 7},
	} {
		t.Run(name, func(t *testing.T) {
			c.Targets, c.Secret, c.Rate, c.Limit = []RADIUSTarget{target}, []byte("s"), 3000, 600
			r, b := radiusBooks(t, c)
			if b.Answered != 600 {
				t.Errorf("%s\n%s", &b, strings.Join(b.Faulty, "\n"))
			}
			acked := r.Acknowledged()
			for _, record := range acked {
				if n := s.Books().Count(record); n != 1 {
					t.Errorf("%v was booked %d times", record, n)
				}
			}
			if want := 600 * c.Acct / max(c.PAP+c.CHAP+c.Acct, 1); len(acked) != want {
				t.Errorf("%d acknowledged records instead of %d", len(acked), want)
			}
		})
	}
	if got := s.Stats(); got.Malformed+got.WrongAuthenticator+got.WrongMessage+got.WrongPassword+got.NotMessageAuthFirst != 0 {
		t.Errorf("%+v", got)
	}
}

// TestRADIUSSessionsStartAndStop looks at what a session's records are.
func TestRADIUSSessionsStartAndStop(t *testing.T) {
	s, target := newServer(t)
	radiusBooks(t, RADIUSConfig{
		Common: Common{Rate: 3000, Limit: 3 * accountingBlock}, Acct: 1, Targets: []RADIUSTarget{target}, Secret: []byte("s"),
	})
	sessions := map[string][]uint32{}
	for r := range s.Books().Records() {
		sessions[r.Session] = append(sessions[r.Session], r.Status)
	}
	if len(sessions) != accountingBlock {
		t.Errorf("%d sessions", len(sessions))
	}
	for id, records := range sessions {
		if len(records) != 3 {
			t.Errorf("%s has %v", id, records)
		}
	}
}

func TestRADIUSFaultsAreFound(t *testing.T) {
	s, target := newServer(t)
	for fault, want := range map[stub.Fault]Fate{
		stub.WrongAuthenticator: WrongSignature, stub.NoMessageAuthenticator: WrongSignature, stub.Rejects: WrongVerdict,
	} {
		if err := s.Set(stub.Mode{Fault: fault, Every: 10}); err != nil {
			t.Fatal(err)
		}
		_, b := radiusBooks(t, RADIUSConfig{Common: Common{Rate: 3000, Limit: 200}, Targets: []RADIUSTarget{target}, Secret: []byte("s")})
		if b.Answered != 180 || b.Fates[want] != 20 {
			t.Errorf("%s: %s, %v", fault, &b, b.Fates)
		}
	}
	_, b := radiusBooks(t, RADIUSConfig{
		Common: Common{Rate: 3000, Limit: 50, Timeout: 200 * time.Millisecond}, Targets: []RADIUSTarget{target}, Secret: []byte("wrong"),
	})
	if b.Lost != 50 || s.Stats().WrongMessage != 50 {
		t.Errorf("with a wrong secret: %s, %+v", &b, s.Stats())
	}
}

// TestRADIUSRetransmitsAsANASDoes sends the same octets again.
func TestRADIUSRetransmitsAsANASDoes(t *testing.T) {
	s, target := newServer(t)
	if err := s.Set(stub.Mode{Fault: stub.Silent, Every: 3}); err != nil {
		t.Fatal(err)
	}
	_, b := radiusBooks(t, RADIUSConfig{
		Common: Common{Rate: 2000, Limit: 300, Resend: 20 * time.Millisecond, Tries: 8}, PAP: 1, CHAP: 1, Acct: 1,
		Targets: []RADIUSTarget{target}, Secret: []byte("s"),
	})
	if b.Answered < 299 || b.Resent < 100 {
		t.Errorf("%s", &b)
	}
}

func TestRADIUSBuildsTheSameTwice(t *testing.T) {
	_, target := newServer(t)
	r, err := NewRADIUS(RADIUSConfig{Common: Common{Rate: 10}, PAP: 1, CHAP: 1, Acct: 1, Targets: []RADIUSTarget{target}, Secret: []byte("s")})
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(300) {
		if a, b := r.p[0].build(nil, n, 0, 7), r.p[0].build(nil, n, 0, 7); string(a) != string(b) {
			t.Fatalf("request %d: %x and %x", n, a, b)
		}
	}
	r.generators[0].end()
	must(t, r.Run)
}

// BenchmarkRADIUSStub is the generator and the simulated server together.
func BenchmarkRADIUSStub(b *testing.B) {
	_, target := newServer(b)
	_, books := radiusBooks(b, RADIUSConfig{
		Common: Common{Rate: 60_000, Limit: uint64(b.N), Timeout: time.Second}, Targets: []RADIUSTarget{target}, Secret: []byte("s"),
	})
	b.ReportMetric(float64(books.Answered)/b.Elapsed().Seconds(), "answers/s")
	b.ReportMetric(float64(books.Lost), "lost")
}
