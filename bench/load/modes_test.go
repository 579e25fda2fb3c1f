package load

import (
	"crypto/tls"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sereno/bench/stub"
)

// TestO10BenchTransports asks over each of them, with lists of names and with names that package stub knows.
func TestO10BenchTransports(t *testing.T) {
	r := newResolver(t)
	list, err := ReadQuestions(strings.NewReader("# names\nwww.example.net\nip-192-0-2-7.example.net A NOERROR 192.0.2.7\nnx.example.net TXT nxdomain\nip-192-0-2-7.b.example.net AAAA - 2001:db8::c000:207\n"))
	if err != nil {
		t.Fatal(err)
	}
	secure, roots := newTLSFront(t, r.Addr())
	for name, c := range map[string]DNSConfig{
		"IPv6":    {Targets: []netip.AddrPort{newResolverAt(t, "[::1]:0").Addr()}, Names: 50},
		"TLS":     {Transport: TLS, TLS: &tls.Config{RootCAs: roots, ServerName: "resolver.test"}, Targets: []netip.AddrPort{secure}, Names: 50},
		"TCP":     {Transport: TCP, Names: 50},
		"large":   {Transport: TCP, Labels: "size-3000", Types: []uint16{stub.TypeTXT}, Names: 5},
		"list":    {List: list, Real: true, DO: true, New: 0.1},
		"popular": {List: list, Real: true, Zipf: 1},
		"workers": {Common: Common{Workers: 3}, Names: 100, Zipf: 1, New: 0.1},
		"uncut":   {Common: Common{NoCut: true}, Names: 100},
		"sources": {Common: Common{Sources: Sources(netip.MustParsePrefix("127.3.0.0/28"), 100)}, Names: 100},
		"closed":  {Common: Common{Window: 20}, Names: 100},
		"ceiling": {Common: Common{Window: 20, Rate: 3000}, Names: 100},
	} {
		t.Run(name, func(t *testing.T) {
			c.Limit = 500
			if len(c.Targets) == 0 {
				c.Targets = []netip.AddrPort{r.Addr()}
			}
			if c.Rate == 0 && c.Window == 0 {
				c.Rate = 5000
			}
			if b := dnsBooks(t, c); b.Answered != 500 || b.Waiting != 0 {
				t.Errorf("%s\n%s", &b, strings.Join(b.Faulty, "\n"))
			}
		})
	}
}

// TestO10BenchExpectations finds each answer that is not what the list says.
func TestO10BenchExpectations(t *testing.T) {
	r := newResolver(t)
	for line, want := range map[string]Fate{
		"a.example.net A NXDOMAIN":                       WrongRcode,
		"nx.example.net A NOERROR":                       WrongRcode,
		"refused.example.net":                            WrongRcode,
		"servfail.example.net":                           Failed,
		"ip-192-0-2-7.example.net A NOERROR 192.0.2.8":   WrongRecords,
		"cname.ip-192-0-2-7.example.net A - 192.0.2.8":   WrongRecords,
		"cname.ip-192-0-2-7.example.net A - 192.0.2.7":   Right,
		"size-5.example.net TXT NOERROR 12345":           WrongRecords,
		"nodata.example.net A NOERROR 192.0.2.1":         WrongRecords,
		"servfail.example.net A SERVFAIL":                Right,
		"count-3.ip-192-0-2-7.example.net A - 192.0.2.9": Right,
	} {
		list, err := ReadQuestions(strings.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		b := dnsBooks(t, DNSConfig{Common: Common{Rate: 5000, Limit: 20}, Targets: []netip.AddrPort{r.Addr()}, List: list, Real: true})
		if b.Fates[want] != 20 {
			t.Errorf("%s: %v", line, b.Fates)
		}
	}
}

func TestO10BenchListsTellEveryMistake(t *testing.T) {
	_, err := ReadQuestions(strings.NewReader("good.example A\n" + strings.Repeat("x", 64) + ".example A\nb.example WHAT\nc.example A MAYBE\nd.example MX - mail.example\ne.example A - nothing\n"))
	for n := range 5 {
		if want := fmt.Sprintf("line %d: ", n+2); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if _, err := ReadQuestions(strings.NewReader("\n")); err == nil {
		t.Error("no names are names")
	}
}

// TestO10BenchClosedLoopKeepsItsWindow counts how many wait at a server that answers late: never more than the window,
// and the rate follows from it.
func TestO10BenchClosedLoopKeepsItsWindow(t *testing.T) {
	r := newResolver(t)
	if err := r.Set(stub.Mode{Delay: 20 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	b := dnsBooks(t, DNSConfig{Common: Common{Window: 10, Limit: 100}, Targets: []netip.AddrPort{r.Addr()}})
	if b.Answered != 100 || b.Latency.Quantile(0.01) < 20*time.Millisecond || b.Elapsed < 170*time.Millisecond {
		t.Errorf("%s in %s", &b, b.Elapsed)
	}
}

// TestO10BenchAnswersByAClosedPortAreRefusals over UDP and TCP.
func TestO10BenchAnswersByAClosedPortAreRefusals(t *testing.T) {
	r := newResolver(t)
	if err := r.Set(stub.Mode{Fault: stub.Closed}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []DNSConfig{{}, {Transport: TCP}, {Common: Common{Plain: true}}} {
		c.Common.Rate, c.Limit, c.Timeout, c.Targets = 1000, 50, 200*time.Millisecond, []netip.AddrPort{r.Addr()}
		if b := dnsBooks(t, c); b.Lost != 50 || b.Refused == 0 {
			t.Errorf("%s, %d refused", &b, b.Refused)
		}
	}
}

// TestO10BenchZipf compares how often ranks come with what the law says.
func TestO10BenchZipf(t *testing.T) {
	for _, exponent := range []float64{0.5, 1, 1.4} {
		const names, picks = 1000, 2_000_000
		z, seen := newZipf(names, exponent), make([]float64, names)
		for n := range uint64(picks) {
			seen[z.pick(mix(n))]++
		}
		sum := 0.0
		for i := range names {
			sum += math.Pow(float64(i+1), -exponent)
		}
		for _, i := range []int{0, 1, 9, 99, 999} {
			want := math.Pow(float64(i+1), -exponent) / sum * picks
			if math.Abs(seen[i]-want) > 5*math.Sqrt(want)+1 {
				t.Errorf("exponent %g: rank %d came %g times instead of %g", exponent, i+1, seen[i], want)
			}
		}
	}
}

func TestSources(t *testing.T) {
	for p, want := range map[string]string{
		"192.0.2.0/30": "[192.0.2.1 192.0.2.2]", "192.0.2.7/32": "[192.0.2.7]", "192.0.2.6/31": "[192.0.2.6 192.0.2.7]",
		"10.0.0.0/8": "[10.0.0.1 10.0.0.2 10.0.0.3]", "2001:db8::/126": "[2001:db8:: 2001:db8::1 2001:db8::2]",
	} {
		if got := fmt.Sprint(Sources(netip.MustParsePrefix(p), 3)); got != want {
			t.Errorf("%s: %s", p, got)
		}
	}
}

func TestAppendPadded(t *testing.T) {
	for v, want := range map[uint64]string{0: "000", 7: "007", 999: "999", 1234: "1234"} {
		if got := string(appendPadded([]byte("x"), v, 3)); got != "x"+want {
			t.Errorf("%d: %q", v, got)
		}
	}
}
