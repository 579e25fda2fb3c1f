package drive

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// alone drives a backend with nothing in front of it.
func alone(t *testing.T, port Port, cfg Config) Result {
	t.Helper()
	b, err := NewBackend(port)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	cfg.Target, cfg.Backends, cfg.Core = port.Addr, []*Backend{b}, -1
	cfg.Sockets, cfg.Warmup = 4, 20*time.Millisecond
	if cfg.Midway != nil {
		set := cfg.Midway
		cfg.Midway = func() { set(); b.Set(modeOf(t)) }
	}
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// modeOf is the mode that a subtest is named after.
func modeOf(t *testing.T) Mode {
	_, name, _ := strings.Cut(t.Name(), "/")
	for m := Good; m <= Killed; m++ {
		if m.String() == name {
			return m
		}
	}
	return Good
}

func dnsPort(last byte) Port {
	return Port{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 79, last}), 5301), Answer: AnswerDNS, Fail: FailDNS}
}

// Everything that is asked is answered, checked and counted, with new names and with known ones, by the clock and in a window.
func TestGoodAnswers(t *testing.T) {
	for _, c := range []Config{
		{Protocol: NewDNS(0), Rate: 2000, For: 150 * time.Millisecond},
		{Protocol: NewDNS(10), Window: 16, Limit: 1000, For: 10 * time.Second},
		{Protocol: &DNS{Names: 1000, InOrder: true}, Window: 16, Limit: 1000, For: 10 * time.Second},
	} {
		r := alone(t, dnsPort(1), c)
		if r.Answered == 0 || r.Lost+r.Wrong+r.Resent > 0 || r.Asked == 0 || r.Latency.Count()+r.Unfit != r.Answered || r.Trouble != nil {
			t.Errorf("%+v: %d answered, %d lost, %d wrong (%s), %d asked", c, r.Answered, r.Lost, r.Wrong, r.Faulty, r.Asked)
		}
	}
}

// Every way in which a backend breaks is seen by whoever asks after it, and by nobody before.
func TestBreaks(t *testing.T) {
	for mode, wrong := range map[Mode]bool{Frozen: false, Silent: false, Killed: false, Failing: true} {
		t.Run(mode.String(), func(t *testing.T) {
			const length = 240 * time.Millisecond
			r := alone(t, dnsPort(2), Config{
				Protocol: NewDNS(0), Rate: 1000, For: length, Patience: 200 * time.Millisecond, Slow: 100 * time.Millisecond, Midway: func() {},
			})
			bad, noticed := r.Lost, uint64(0)
			if wrong {
				bad = r.Wrong
			}
			for _, n := range r.Trouble {
				noticed += uint64(n)
			}
			if bad == 0 || r.Lost+r.Wrong != bad || noticed < bad || r.Answered == 0 || r.Recovered == 0 || r.Recovered > 2*length {
				t.Errorf("%d sent, %d lost, %d wrong (%s), %d noticed, until %s", r.Sent, r.Lost, r.Wrong, r.Faulty, noticed, r.Recovered)
			}
		})
	}
}

// What is unanswered is sent again, the same octets, and then no loss; who had to is counted.
func TestResends(t *testing.T) {
	auth := NewRADIUS("secret", false)
	var deaf bool
	seen := map[string]int{}
	port := Port{Addr: netip.MustParseAddrPort("127.0.79.3:1812"), Answer: func(dst, request []byte) []byte {
		seen[string(request)]++
		if deaf && seen[string(request)] == 1 {
			return nil
		}
		return auth.Answer(dst, request)
	}}
	r := alone(t, port, Config{
		Protocol: NewRADIUS("secret", false), Rate: 500, For: 150 * time.Millisecond, Patience: 10 * time.Second, Resend: 200 * time.Millisecond,
		Slow: 100 * time.Millisecond, Midway: func() { deaf = true },
	})
	twice := uint64(0)
	for _, n := range seen {
		if n == 2 {
			twice++
		}
	}
	if r.Resent == 0 || r.Lost+r.Wrong > 0 || r.Slowest < 200*time.Millisecond || twice == 0 || uint64(len(seen)) < r.Answered {
		t.Errorf("%d answered, %d lost, %d wrong (%s), %d resent, %d came twice, slowest %s", r.Answered, r.Lost, r.Wrong, r.Faulty, r.Resent, twice, r.Slowest)
	}
}

// A server whose logins hang answers Status-Server, which is all that a probe sees.
func TestRADIUSFails(t *testing.T) {
	auth := NewRADIUS("secret", false)
	login := auth.Request(nil, 1, 1, 0)
	status := append([]byte(nil), login...)
	status[0] = 12
	if len(auth.Fail(nil, login)) > 0 || len(auth.Fail(nil, status)) == 0 {
		t.Error("it answers a login, or no Status-Server")
	}
}

// A reply without compression is as good as one with it.
func TestUncompressedReplies(t *testing.T) {
	d := NewDNS(0)
	q := d.Request(nil, 1, 7, 0)
	short := AnswerDNS(nil, q)
	long := append([]byte(nil), short[:questionEnd]...)
	long = append(long, short[12:questionEnd-4]...)
	long = append(long, short[questionEnd+2:]...)
	for name, reply := range map[string][]byte{"compressed": short, "uncompressed": long} {
		if why := d.Check(reply, 1, 7, 0); why != "" {
			t.Errorf("%s: %s", name, why)
		}
		if why := d.Check(reply, 2, 7, 0); why == "" {
			t.Errorf("%s: good for another name", name)
		}
		if why := d.Check(reply[:questionEnd+8], 1, 7, 0); why == "" {
			t.Errorf("%s: good when cut off", name)
		}
	}
}
