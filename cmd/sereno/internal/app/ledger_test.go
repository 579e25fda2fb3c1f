package app

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"sereno/bench/stub"
	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
	"sereno/health"
	"sereno/health/ledger"
)

// books are those of one object over the last hour, as the API has them.
func (s *site) books(name, role string) (admin.Books, admin.Figures) {
	s.t.Helper()
	a, err := s.node.Availability("", []time.Duration{time.Hour})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, b := range a.Objects {
		if b.Name == name && b.Role == role {
			return b, b.Windows[0]
		}
	}
	return admin.Books{}, admin.Figures{}
}

func TestA30TheNodeKeepsBooksOverRestarts(t *testing.T) {
	s := newSite(t)
	s.start()
	until(t, 5*time.Second, "books that say up", func() bool {
		b, _ := s.books("resolver", "")
		return b.State == "up"
	})
	if b, f := s.books("fulmine", "dns"); b.State != "up" || b.Pool != "resolvers" || f.Outages != 0 || f.MTBF != nil || *f.AvailabilityPercent != 100 {
		t.Errorf("%+v %+v", b, f)
	}
	for _, r := range s.resolvers {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	until(t, 10*time.Second, "an outage", func() bool {
		_, f := s.books("resolver", "")
		return f.Outages == 1 && f.Down > 0.2
	})
	b, f := s.books("resolver", "")
	if b.State != "down" || b.Cause != string(health.ReasonNoHealthyBackend) || !f.Last.Until.IsZero() || *f.AvailabilityPercent >= 100 || f.Budget.Left >= 0 {
		t.Errorf("%+v %+v", b, f)
	}
	s.stop()
	n, err := s.tryStart()
	if err != nil {
		t.Fatal(err)
	}
	s.node = n
	defer s.stop()
	until(t, 10*time.Second, "an outage that goes on", func() bool {
		b, f := s.books("resolver", "")
		return b.State == "down" && f.Outages == 1 && f.Unknown > 0
	})
	if s.logged("the books of availability cannot be written; the node goes on", "", "") != 0 {
		t.Error("the books could not be written")
	}
}

func TestA31RequestsThatAreAnsweredWell(t *testing.T) {
	s := newSite(t)
	n := s.start()
	counted := &sampler{within: n.shape.Load().config.Availability.GoodWithin}
	n.observe(counted)
	look := func() map[ledger.Object]requests {
		out := map[ledger.Object]requests{}
		for _, o := range n.observe(counted) {
			out[o.Object] = requests{good: o.Good, valid: o.Valid}
		}
		return out
	}
	x := s.traffic(500)
	x.end()
	got := look()
	resolver, pppoe := got[serviceObject("resolver")], got[serviceObject("pppoe")]
	if resolver.valid != x.dns.Answered || resolver.good != resolver.valid {
		t.Errorf("dns: %+v, answered were %d", resolver, x.dns.Answered)
	}
	if pppoe.valid != x.radius.Answered || pppoe.good != pppoe.valid {
		t.Errorf("radius: %+v, answered were %d, with rejects", pppoe, x.radius.Answered)
	}
	uno := got[backendObject(health.Key{Pool: "servers", Backend: "uno", Role: "auth"})]
	if uno.valid == 0 || uno.good != uno.valid {
		t.Errorf("a backend: %+v", uno)
	}
	if again := look(); again[serviceObject("resolver")] != (requests{}) {
		t.Errorf("counted twice: %+v", again)
	}
	for _, r := range s.resolvers {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := asks(s.dns, "nobody-asked-before.example"); err == nil {
		t.Fatal("an answer without a backend")
	}
	if r := look()[serviceObject("resolver")]; r != (requests{good: 0, valid: 1}) {
		t.Errorf("a SERVFAIL for want of a backend: %+v", r)
	}
	counted.within.DNS++ // as if a reload had changed it
	if err := asks(s.dns, "nor-this.example"); err == nil {
		t.Fatal("an answer without a backend")
	}
	if r := look()[serviceObject("resolver")]; r != (requests{}) {
		t.Errorf("by two rules: %+v", r)
	}
}

func TestA32TheNodeAnswersForAService(t *testing.T) {
	s := newSite(t)
	s.start()
	until(t, 5*time.Second, "books", func() bool { b, _ := s.books("resolver", ""); return b.State == "up" })
	code, body, err := get("http://" + s.listen + "/api/v1/availability?service=resolver")
	var a admin.Availability
	if err != nil || code != http.StatusOK || json.Unmarshal([]byte(body), &a) != nil {
		t.Fatalf("%d %v %s", code, err, body)
	}
	if len(a.Objects) != 3 || a.Objects[0].Name != "resolver" || len(a.Objects[2].Windows) != 5 || a.TargetPercent != 99.99 {
		t.Errorf("%+v", a)
	}
	for _, o := range a.Objects {
		for _, f := range o.Windows {
			sum := f.Up + f.Degraded + f.Drained + f.Down + f.Unknown
			if want := admin.SecondsOf(f.To.Sub(f.From.Time)); sum < want-2 || sum > want+2 {
				t.Errorf("%s %s: %v s of %v", o.Name, f.Window, sum, want)
			}
		}
	}
	if code, _, _ := get("http://" + s.listen + "/api/v1/availability?service=weather"); code != http.StatusNotFound {
		t.Errorf("no such service: %d", code)
	}
}

func TestA31ANodeGoesOnWithoutBooks(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	b := newBookkeeper(filepath.Join(t.TempDir(), "absent", "ledger.db"), 24*time.Hour, time.Now, zap.New(core))
	b.changed(serviceObject("resolver"), ledger.Up, "")
	b.beat(func() []ledger.Observation { return nil })
	b.close()
	b.close()
	b.changed(serviceObject("resolver"), ledger.Down, "") // nothing happens
	if logs.Len() != 1 || !strings.Contains(logs.All()[0].Message, "the node goes on") {
		t.Errorf("logged: %v", logs.All())
	}
}

func TestA31TornBooksDoNotHinderAStart(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(s.dir, "state", "ledger.db")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	kept, err := filepath.Glob(file + ".aside-*")
	if err != nil || len(kept) != 1 {
		t.Errorf("kept are %v", kept)
	}
	if s.logs.FilterMessageSnippet("new books are begun").Len() != 1 {
		t.Error("nothing was said")
	}
}

func TestA31Sampler(t *testing.T) {
	o := serviceObject("x")
	s := sampler{within: config.GoodWithinConfig{}, was: map[ledger.Object]requests{o: {good: 5, valid: 10}}}
	next := map[ledger.Object]requests{}
	if r := s.since(o, requests{good: 7, valid: 13}, next); r != (requests{good: 2, valid: 3}) {
		t.Errorf("%+v", r)
	}
	if r := s.since(o, requests{good: 2, valid: 3}, next); r != (requests{good: 2, valid: 3}) {
		t.Errorf("a service that was made anew: %+v", r)
	}
	bounds, counts := []float64{0.1, 1, 2}, []uint64{1, 10, 100, 1000}
	for limit, want := range map[time.Duration]uint64{2 * time.Second: 1000, 1900 * time.Millisecond: 1100, time.Hour: 1000, time.Millisecond: 1111} {
		if got := lateOnes(bounds, counts, limit); got != want {
			t.Errorf("later than %v: %d, want %d", limit, got, want)
		}
	}
	var n Node
	n.shape.Store(&shape{})
	if _, err := n.Availability("x", nil); !errors.Is(err, admin.ErrNotFound) {
		t.Error(err)
	}
}

func TestA31ClientsFaultsAreNotCountedAndLateAnswersAreNotGood(t *testing.T) {
	s := newSite(t)
	s.text["log"] += "availability: {good_within: {dns: 50ms, radius: 50ms, accounting: 50ms}}\n"
	s.text["pools"] = strings.NewReplacer("interval: 200ms, timeout: 150ms", "interval: 500ms, timeout: 400ms",
		"attempt_timeout: 100ms", "attempt_timeout: 1s", "attempt_timeout: 200ms", "attempt_timeout: 1s").Replace(s.text["pools"])
	closed := freeAddr(t)
	s.text["dns"] += strings.Replace(s.dnsService("closed", closed), "cache:", "allow: [192.0.2.0/24], cache:", 1)
	n := s.start()
	counted := &sampler{within: n.shape.Load().config.Availability.GoodWithin}
	n.observe(counted)
	look := func() (resolver, closed, pppoe requests) {
		out := map[ledger.Object]requests{}
		for _, o := range n.observe(counted) {
			out[o.Object] = requests{good: o.Good, valid: o.Valid}
		}
		return out[serviceObject("resolver")], out[serviceObject("closed")], out[serviceObject("pppoe")]
	}

	question := new(dns.Msg)
	question.SetQuestion("www.example.com.", dns.TypeA)
	if a, err := dns.Exchange(question, closed); err != nil || a.Rcode != dns.RcodeRefused {
		t.Fatalf("who is not allowed gets %v, %v", a, err)
	}
	for addr, packets := range map[string][][]byte{
		s.dns:  {{1, 2, 3}, {0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}}, // short; and its question is missing: FORMERR
		s.auth: {{1, 2, 3}, append([]byte{1, 7, 0, 99}, make([]byte, 16)...)},
		s.acct: {append([]byte{4, 7, 0, 20}, make([]byte, 16)...)}, // a wrong Request Authenticator
	} {
		c, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range packets {
			if _, err := c.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
	}
	until(t, 5*time.Second, "faulty requests that are counted", func() bool {
		resolver, closed, pppoe := s.service("resolver"), s.service("closed"), s.service("pppoe")
		return resolver.Requests == 2 && resolver.InFlight == 0 && closed.Answers == 1 && pppoe.Drops == 3
	})
	if resolver, closed, pppoe := look(); resolver != (requests{}) || closed != (requests{}) || pppoe != (requests{}) {
		t.Errorf("what clients did wrong is counted: %+v, not allowed %+v, radius %+v", resolver, closed, pppoe)
	}

	for i := range s.resolvers {
		if err := s.resolvers[i].Set(stub.Mode{Delay: 150 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range s.servers {
		if err := s.servers[i].Set(stub.Mode{Delay: 150 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
	}
	if err := asks(s.dns, "late.example"); err != nil {
		t.Fatal(err)
	}
	s.account("session-1", "alice", 1)
	if resolver, _, pppoe := look(); resolver != (requests{good: 0, valid: 1}) || pppoe != resolver {
		t.Errorf("answers that came too late: %+v, %+v", resolver, pppoe)
	}
	s.login("alice")
	if _, _, pppoe := look(); pppoe != (requests{good: 0, valid: 1}) {
		t.Errorf("a login that was answered too late: %+v", pppoe)
	}
}

// TestA31BooksThatHangHoldUpNobodyWhoAsks: with a disk that hangs, whoever asks for the books again and again, as the web
// page does, hears that it hangs, and takes nobody else's turn at the API.
func TestA31BooksThatHangHoldUpNobodyWhoAsks(t *testing.T) {
	s := newSite(t)
	n := s.start()
	n.books.within = 200 * time.Millisecond
	held, thaw := make(chan struct{}), make(chan struct{})
	frozen := sync.OnceFunc(func() { close(held) })
	ended := make(chan error, 1)
	go func() {
		_, err := n.books.books.Load().Reports(n.books.clock.Now(), []time.Duration{time.Hour}, func(ledger.Object) bool {
			frozen()
			<-thaw // as one that writes waits for its disk
			return false
		})
		ended <- err
	}()
	<-held
	var asking sync.WaitGroup
	for i := range 12 {
		path := []string{"availability", "timeline?since=24h"}[i%2]
		asking.Go(func() {
			if code, body, err := get("http://" + s.listen + "/api/v1/" + path); err != nil || code != http.StatusInternalServerError || !strings.Contains(body, "their disk has not answered for") {
				t.Errorf("%s: %d %s %v", path, code, body, err)
			}
		})
	}
	asking.Wait()
	for _, path := range []string{"/metrics", "/readyz", "/api/v1/status"} {
		if code, _, err := get("http://" + s.listen + path); err != nil || code != http.StatusOK {
			t.Errorf("%s: %d, %v", path, code, err)
		}
	}
	close(thaw)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	until(t, 5*time.Second, "the books", func() bool {
		code, _, err := get("http://" + s.listen + "/api/v1/availability")
		return err == nil && code == http.StatusOK
	})
}

// TestAPanicInTheBooksIsTold: whoever asks gets it, where it costs one request; and where it happened is logged, also if
// nobody waits for it any more.
func TestAPanicInTheBooksIsTold(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	b := newBookkeeper(filepath.Join(t.TempDir(), "ledger.db"), 24*time.Hour, time.Now, zap.New(core))
	defer b.close()
	told := func(n int) {
		t.Helper()
		until(t, 5*time.Second, "the log", func() bool { return logs.Len() == n })
		fields := logs.All()[n-1].ContextMap()
		if stack, _ := fields["stack"].(string); fields["panic"] != "damaged" || !strings.Contains(stack, "TestAPanicInTheBooksIsTold") {
			t.Errorf("%v", fields)
		}
	}
	func() {
		defer func() {
			if r := recover(); r != "damaged" {
				t.Errorf("who asked got %v", r)
			}
		}()
		_, err := readBooks(b, func(*ledger.Ledger) (int, error) { panic("damaged") })
		t.Error(err)
	}()
	told(1)

	b.within = 50 * time.Millisecond
	gone := make(chan struct{})
	if _, err := readBooks(b, func(*ledger.Ledger) (int, error) { <-gone; panic("damaged") }); err == nil {
		t.Error("the books were read")
	}
	close(gone)
	told(2)
	if _, err := readBooks(b, func(*ledger.Ledger) (int, error) { return 0, nil }); err != nil {
		t.Errorf("it keeps its place: %v", err)
	}
}
