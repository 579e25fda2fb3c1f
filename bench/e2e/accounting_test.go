package e2e

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/nas"
	"sereno/bench/internal/servers"
)

// TestR40AccountingIsNeverLost: 1,000 records a second while both servers are dead for ten seconds (SERENO_E2E=full: a
// minute), and the node is killed again and again, then and while it delivers. What it acknowledged is in the servers'
// detail files, in order for each session, with the time at which it happened; and every record that was sent again has
// its reason.
func TestR40AccountingIsNeverLost(t *testing.T) {
	for _, ack := range []string{"after-backend", "after-spool"} {
		t.Run(ack, func(t *testing.T) {
			t.Parallel()
			outage(t, ack)
		})
	}
}

const accountingRate = 1000

// resends is for how long the same bytes may be sent again, seconds (R42).
const resends = 4

func outage(t *testing.T, ack string) {
	down, drain, kills, killsBack := 10*time.Second, time.Minute, 2, 1
	if whole {
		down, drain, kills, killsBack = time.Minute, 5*time.Minute, 8, 8
	}
	lab := harness.New(t)
	servers := []*harness.FreeRADIUS{lab.FreeRADIUS(0), lab.FreeRADIUS(1)}
	k := &killer{t: t, lab: lab, backends: servers, node: lab.Sereno(harness.Config{Servers: servers, Ack: ack}), rng: rand.New(rand.NewPCG(40, uint64(down)))}
	lines := nas.Start(nas.Config{
		Dial: func() (net.Conn, error) { return net.Dial("udp", k.node.Acct.String()) }, Secret: []byte(harness.NASSecret),
		Name: "line", Lines: 64, Rate: accountingRate, PerSession: 5, Resend: time.Second, Tries: 120,
	})
	time.Sleep(2 * time.Second) // load

	for _, s := range servers {
		s.Kill()
	}
	dead := time.Now()
	for i := range kills { // at a random moment of each part of the outage
		part := down / time.Duration(kills)
		time.Sleep(time.Until(dead.Add(part*time.Duration(i) + part/10 + k.random(part*8/10))))
		k.kill()
	}
	time.Sleep(time.Until(dead.Add(down))) // the outage
	spooled := k.node.Metrics().Sum("sereno_spool_records")
	if least := 0.7 * accountingRate * down.Seconds(); spooled < least {
		t.Errorf("only %.0f records are in the spool, not %.0f: this proves little", spooled, least)
	}
	exported(t, lab, spooled)

	for _, s := range servers {
		s.Start()
	}
	back := time.Now()
	for range killsBack { // while it delivers
		lab.Eventually(20*time.Second, "delivery", func() bool {
			m := k.node.Metrics()
			return m.Sum("sereno_spool_delivered_total") > 100 || m.Sum("sereno_spool_records") == 0
		})
		time.Sleep(k.random(500 * time.Millisecond))
		k.kill()
	}
	if err := lines.End(); err != nil {
		t.Error(err)
	}
	lab.Eventually(drain, "everything is delivered", func() bool { return k.node.Metrics().Sum("sereno_spool_records") == 0 })
	delivery := time.Since(back)
	k.node.WaitIdle()

	acked, again := lines.Sum()
	books := &detail{t: t, told: lines.Books(), first: map[nas.Event]harness.DetailRecord{}}
	for _, s := range servers {
		books.read(s)
	}
	books.check(acked)
	lives := append(k.lives, k.node.Metrics())
	reasons, explained := resent(again, k.unnoted, lives...)
	if books.copies > explained {
		t.Errorf("%d copies arrived, and %d are explained: %s", books.copies, explained, reasons)
	}
	if silent := sum(lives, "sereno_spool_resent_total", "reason", "silent"); books.stale > silent {
		t.Errorf("%d records have a time that is more than 2 s late, and %d were sent again as they were", books.stale, silent)
	}
	t.Logf("%s: killed %d times; %d records acknowledged, %.0f spooled, all delivered %s after the servers came back, %d copies (%s); times off by %.1f s to %.1f s",
		ack, len(k.lives), acked, spooled, delivery.Round(100*time.Millisecond), books.copies, reasons, books.early, books.late)
}

// killer kills the node, and looks at what it leaves behind before it starts it again.
type killer struct {
	t        *testing.T
	lab      *harness.Lab
	backends []*harness.FreeRADIUS
	node     *harness.Sereno
	rng      *rand.Rand
	lives    []harness.Metrics // of those that were killed
	unnoted  int               // records that servers had, and that stood in the spool when it was killed
}

func (k *killer) random(most time.Duration) time.Duration {
	return time.Duration(k.rng.Int64N(int64(most)))
}

func (k *killer) kill() {
	k.t.Helper()
	k.lives = append(k.lives, k.node.Metrics())
	k.node.Kill()
	binary, err := harness.Binary()
	if err != nil {
		k.t.Fatal(err)
	}
	out, code := k.lab.Output("", binary, "spool", "export", "--dir", filepath.Join(k.lab.Dir(), "state", "spool", "pppoe"))
	file := filepath.Join(k.t.TempDir(), "detail")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		k.t.Fatal(err)
	}
	left, err := servers.ReadDetail(file)
	if err != nil || code != 0 {
		k.t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	have := map[nas.Event]bool{}
	for _, s := range k.backends {
		for _, r := range s.DetailRecords() {
			have[nas.Event{Session: r.Session, N: r.SessionTime}] = true
		}
	}
	for _, r := range left {
		if have[nas.Event{Session: r.Session, N: r.SessionTime}] {
			k.unnoted++
		}
	}
	k.node.Start()
	k.node.WaitLives()
}

// exported demands that an operator can take the spool of the running node along.
func exported(t *testing.T, lab *harness.Lab, least float64) {
	t.Helper()
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(lab.Dir(), "admin.sock")
	out, code := lab.Output("", binary, "spool", "export", "--socket", socket)
	if n := strings.Count(out, "\tTimestamp = "); code != 0 || float64(n) < least {
		t.Errorf("the export has %d records of %.0f (exit code %d)", n, least, code)
	}
	out, code = lab.Output("", binary, "spool", "list", "--socket", socket, "--limit", "3")
	if code != 0 || !strings.Contains(out, "RECORD") || !strings.Contains(out, "line-") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// resent is how many copies servers may have got, by reason, over all lives of the node.
func resent(byNAS, unnoted int, lives ...harness.Metrics) (string, int) {
	total, words := byNAS+unnoted, []string{fmt.Sprintf("%d by the NAS, %d not noted when it was killed", byNAS, unnoted)}
	add := func(n int, what string) {
		total += n
		words = append(words, fmt.Sprintf("%d %s", n, what))
	}
	for _, reason := range []string{"silent", "anew", "asked-live"} {
		add(sum(lives, "sereno_spool_resent_total", "reason", reason), reason)
	}
	for _, event := range []string{"moved", "repeated"} {
		add(sum(lives, "sereno_radius_upstream_total", "event", event), event)
	}
	return strings.Join(words, ", "), total
}

func sum(lives []harness.Metrics, name, label, value string) (n int) {
	for _, m := range lives {
		n += int(m.Sum(name, label, value))
	}
	return n
}

// detail is what stands in the servers' detail files.
type detail struct {
	t           *testing.T
	told        map[nas.Event]nas.Told
	first       map[nas.Event]harness.DetailRecord // of the copies of each record the first that was written
	copies      int
	stale       int     // records whose time is more than 2 s late, and no more than copies of the same bytes make it
	early, late float64 // by which the times are off at most, seconds
}

// read takes one server's file, and demands the order of each session in it.
func (d *detail) read(s *harness.FreeRADIUS) {
	d.t.Helper()
	latest := map[string]int{} // by session
	here := map[nas.Event]bool{}
	for _, r := range s.DetailRecords() {
		e := nas.Event{Session: r.Session, N: r.SessionTime}
		if !here[e] {
			if n, ok := latest[e.Session]; ok && e.N < n {
				d.t.Errorf("%v was written after record %d of its session", e, n)
			}
			here[e], latest[e.Session] = true, e.N
		}
		if old, ok := d.first[e]; !ok {
			d.first[e] = r
		} else {
			d.copies++
			if r.Timestamp < old.Timestamp {
				d.first[e] = r
			}
		}
	}
}

// check demands that every acknowledged record is there, at the time at which it happened, and not before the one
// before it.
func (d *detail) check(acked int) {
	d.t.Helper()
	lost := 0
	var events []nas.Event
	for e, b := range d.told {
		if !b.Acked {
			continue
		}
		r, ok := d.first[e]
		if !ok {
			lost++
			continue
		}
		events = append(events, e)
		d.time(e, b, r)
	}
	if lost > 0 {
		d.t.Errorf("%d of %d acknowledged records are in no detail file", lost, acked)
	}
	slices.SortFunc(events, func(a, b nas.Event) int { return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.N, b.N)) })
	for i := 1; i < len(events); i++ {
		a, b := events[i-1], events[i]
		if a.Session == b.Session && d.first[a].Timestamp > d.first[b].Timestamp {
			d.t.Errorf("%v was written before %v", b, a)
		}
	}
}

// time demands that the record's time, when it was written less Acct-Delay-Time, is when the NAS sent it, within two
// seconds; of what it sent more than once, between the first time and the last. A record of which the first copies found
// nobody keeps their Acct-Delay-Time (resends).
func (d *detail) time(e nas.Event, b nas.Told, r harness.DetailRecord) {
	d.t.Helper()
	at := float64(r.Timestamp - r.Delay)
	early := math.Max(0, float64(b.First.UnixMilli())/1e3-at)
	late := math.Max(0, at-float64(b.Last.UnixMilli())/1e3)
	d.early, d.late = math.Max(d.early, early), math.Max(d.late, late)
	if late > 2 {
		d.stale++
	}
	if r.Delay < 0 || early > 2 || late > 2+resends {
		d.t.Errorf("%v happened %s to %s, and is written at %d with a delay of %d s", e, b.First.Format(time.TimeOnly), b.Last.Format(time.TimeOnly), r.Timestamp, r.Delay)
	}
}
