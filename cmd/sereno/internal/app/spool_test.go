package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"layeh.com/radius"

	"sereno/bench/stub"
	"sereno/cmd/sereno/internal/admin"
	"sereno/proxy/radiusfront"
)

// account sends one accounting record as bras-1 does and waits for its answer.
func (s *site) account(session, user string, status byte, more ...*radius.AVP) {
	s.t.Helper()
	p := radius.New(radius.CodeAccountingRequest, []byte(nasSecret))
	p.Add(1, radius.Attribute(user))
	p.Add(40, radius.Attribute{0, 0, 0, status})
	p.Add(44, radius.Attribute(session))
	for _, a := range more {
		p.Add(a.Type, a.Attribute)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	answer, err := radius.Exchange(ctx, p, s.acct)
	if err != nil || answer.Code != radius.CodeAccountingResponse {
		s.t.Fatalf("%v %v", answer, err)
	}
}

// login sends one Access-Request as bras-1 does and waits for its answer, whatever it is.
func (s *site) login(user string) {
	s.t.Helper()
	p := radius.New(radius.CodeAccessRequest, []byte(nasSecret))
	p.Add(1, radius.Attribute(user))
	hidden, err := radius.NewUserPassword([]byte("secret of "+user), p.Secret, p.Authenticator[:])
	if err != nil {
		s.t.Fatal(err)
	}
	p.Add(2, hidden)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if answer, err := radius.Exchange(ctx, p, s.auth); err != nil || answer.Code != radius.CodeAccessAccept && answer.Code != radius.CodeAccessReject {
		s.t.Fatalf("%v %v", answer, err)
	}
}

// servers turns both RADIUS servers off or on, and waits until the node has seen it.
func (s *site) serversAre(state string, m stub.Mode) {
	s.t.Helper()
	for i := range s.servers {
		if err := s.servers[i].Set(m); err != nil {
			s.t.Fatal(err)
		}
	}
	until(s.t, 10*time.Second, "servers "+state, func() bool {
		return s.backend("uno", "acct").State == state && s.backend("due", "acct").State == state
	})
}

func (s *site) spooled(q admin.SpoolQuery) (out []admin.SpoolRecord) {
	s.t.Helper()
	if err := s.node.WalkSpools(q, func(_ admin.SpoolName, r *admin.SpoolRecord) bool {
		if r != nil {
			out = append(out, *r)
		}
		return true
	}); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// TestR45OperatorsSeeAndChangeTheSpool: on a running node, then from a stopped one's files,
// and what was not dropped is delivered.
func TestR45OperatorsSeeAndChangeTheSpool(t *testing.T) {
	s := newSite(t)
	s.start()
	s.serversAre(admin.StateDown, stub.Mode{Fault: stub.Closed})
	for i := range 4 {
		s.account(fmt.Sprint("session-", i%3), fmt.Sprintf("user-%d@example.net", i), 1, &radius.AVP{Type: 2, Attribute: radius.Attribute("SECRET SECRET 16")})
	}
	s.recordsAreShown()
	s.recordsAreDropped()
	dir := filepath.Join(s.dir, "state", "spool", "pppoe")
	if _, _, _, err := OpenSpoolDirectory(dir); err == nil || !strings.Contains(err.Error(), "leave --dir out") {
		t.Error(err)
	}
	s.stop()
	d, notes, sound, err := OpenSpoolDirectory(dir)
	if err != nil || !sound || len(notes) != 1 || !strings.HasPrefix(notes[0], "what a server acknowledged after 20") {
		t.Fatalf("%v %v %v", notes, sound, err)
	}
	page, err := admin.ListSpools(d, admin.SpoolQuery{}, 100)
	if err != nil || len(page.Records) != 3 || page.Records[0].Record != "pppoe/1" || page.Spools[0].Records != 3 || page.Spools[0].Service != "pppoe" {
		t.Errorf("%+v %v", page, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range s.servers {
		if err := s.servers[i].Set(stub.Mode{}); err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	until(t, 10*time.Second, "the delivery", func() bool { sp := s.service("pppoe").Spool; return sp.Records == 0 && sp.Delivered == 3 })
	_, metrics, err := get("http://" + s.listen + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`sereno_spool_delivered_total{service="pppoe"} 3`, `sereno_spool_recovered_total{service="pppoe"} 3`,
		`sereno_spool_resent_total{reason="silent",service="pppoe"} 0`, `sereno_spool_refused_total{class="interim",service="pppoe"} 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s", want)
		}
	}
}

func (s *site) recordsAreShown() {
	s.t.Helper()
	all := s.spooled(admin.SpoolQuery{Attributes: true})
	if len(all) != 4 || time.Since(all[0].Stored.Time) > time.Minute || all[3].State != admin.SpoolWaiting {
		s.t.Fatalf("%+v", all)
	}
	if r := all[0]; r.Record != "pppoe/1" || r.Session != "session-0" || r.User != "user-0@example.net" || r.Type != "Start" || r.NAS != "127.0.0.1" || r.Pool != "servers" {
		s.t.Errorf("%+v", r)
	}
	text := fmt.Sprintf("%+v", all)
	if !strings.Contains(text, `{Name:Acct-Session-Id Value:"session-0" Secret:false}`) || !strings.Contains(text, "{Name:User-Password Value: Secret:true}") || strings.Contains(text, "SECRET") {
		s.t.Error(text)
	}
	for want, q := range map[string]admin.SpoolQuery{
		"pppoe/2":         {User: "user-1@example.net"},
		"pppoe/1 pppoe/4": {Session: "session-0", NAS: netip.MustParseAddr("127.0.0.1"), Service: "pppoe"},
		"pppoe/3 pppoe/4": {After: admin.SpoolName{Service: "pppoe", Number: 2}},
		"":                {NAS: netip.MustParseAddr("10.0.0.1")},
	} {
		var got []string
		for _, r := range s.spooled(q) {
			got = append(got, r.Record)
		}
		if strings.Join(got, " ") != want {
			s.t.Errorf("%+v: %v", q, got)
		}
	}
	if err := s.node.WalkSpools(admin.SpoolQuery{Service: "resolver"}, nil); !errors.Is(err, admin.ErrNotFound) {
		s.t.Error(err)
	}
}

// recordsAreDropped drops the second one.
func (s *site) recordsAreDropped() {
	s.t.Helper()
	ctx := context.Background()
	one := admin.SpoolQuery{Record: admin.SpoolName{Service: "pppoe", Number: 2}}
	if _, err := s.node.RetrySpooled(ctx, one); err == nil || !strings.Contains(err.Error(), "not set aside") {
		s.t.Error(err)
	}
	if done, err := s.node.RetrySpooled(ctx, admin.SpoolQuery{}); err != nil || done.Records != 0 {
		s.t.Errorf("%+v %v", done, err)
	}
	until(s.t, 10*time.Second, "a moment at which it is not just tried", func() bool {
		done, err := s.node.DropSpooled(ctx, one)
		var refused *admin.RefusedError
		if err != nil && (!errors.As(err, &refused) || !strings.Contains(err.Error(), "being delivered")) {
			s.t.Fatal(err)
		}
		return done.Records == 1
	})
	if _, err := s.node.DropSpooled(ctx, one); !errors.Is(err, admin.ErrNotFound) {
		s.t.Error(err)
	}
	if s.logged("spooled accounting was dropped by an operator", "records", "1") != 1 {
		s.t.Error("a drop is not in the log")
	}
	if sp := s.service("pppoe").Spool; sp == nil || sp.Records != 3 || sp.Stored != 4 || sp.Dropped != 1 || !sp.Accepts || sp.Resent == nil {
		s.t.Errorf("%+v", sp)
	}
}

// standing are the names and subjects of the alarms.
func (s *site) standing() string {
	var out []string
	for _, a := range s.node.Status().Alarms {
		out = append(out, a.Name+"/"+a.Subject)
	}
	return strings.Join(out, " ")
}

// TestR45AlarmsAreRaisedAndClearedOnce, in the status, the log, the metrics and the event
// stream: here those of another node's directory and of damage.
func TestR45AlarmsAreRaisedAndClearedOnce(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(s.dir, "state", "spool", "pppoe")
	s.start()
	s.stop()
	node := filepath.Join(dir, "node")
	mine, err := os.ReadFile(node)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(node); err != nil {
		t.Fatal(err)
	}
	s.text["node"] = "node: {name: another, state_dir: state}\n"
	s.start()
	s.stop()
	s.text["node"] = "node: {name: test-1, state_dir: state}\n"

	n := s.start()
	until(t, 5*time.Second, "the alarm", func() bool { return s.standing() == "spool-foreign/pppoe" })
	a := n.Status().Alarms[0]
	if !strings.Contains(a.Text, `it is of "another" and this node is "test-1"`) || time.Since(a.Since.Time) > time.Minute {
		t.Errorf("%+v", a)
	}
	if got := n.Status().Alarms[0].Since; got != a.Since {
		t.Error("it does not keep its time")
	}
	s.events("alarm spool-foreign/pppoe  raised")
	if _, metrics, _ := get("http://" + s.listen + "/metrics"); !strings.Contains(metrics, `sereno_alarms{alarm="spool-foreign"} 1`) {
		t.Error("no metric")
	}
	if err := os.WriteFile(node, mine, 0o600); err != nil {
		t.Fatal(err)
	}
	s.mustReload()
	until(t, 5*time.Second, "its end", func() bool { return s.standing() == "" })
	s.events("alarm spool-foreign/pppoe raised ")
	if s.logged("alarm", "alarm", "spool-foreign") != 1 || s.logged("alarm over", "alarm", "spool-foreign") != 1 {
		t.Error("the log does not have it once")
	}

	piece := filepath.Join(dir, "damaged-0000000000000001-00000010.bin")
	if err := os.WriteFile(piece, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "the alarm", func() bool { return s.standing() == "spool-damaged/pppoe" })
	if err := os.Remove(piece); err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "its end", func() bool { return s.standing() == "" })
}

// TestR45AlarmsOfASpool: which figures raise which alarm.
func TestR45AlarmsOfASpool(t *testing.T) {
	never := func(string) bool { return false }
	always := func(string) bool { return true }
	for _, test := range []struct {
		what    string
		sp      *radiusfront.SpoolStats
		damaged int
		stood   func(string) bool
		want    string
	}{
		{"no spool", nil, 0, never, ""},
		{"well", &radiusfront.SpoolStats{Accepts: true, Used: 0.5}, 0, never, ""},
		{"below the end of the alarm", &radiusfront.SpoolStats{Accepts: true, Used: 0.84}, 0, always, ""},
		{"between, on the way up", &radiusfront.SpoolStats{Accepts: true, Used: 0.89}, 0, never, ""},
		{"between, on the way down", &radiusfront.SpoolStats{Accepts: true, Used: 0.86}, 0, always, "spool-filling"},
		{"filling", &radiusfront.SpoolStats{Accepts: true, Used: 0.91}, 0, never, "spool-filling"},
		{"full", &radiusfront.SpoolStats{Used: 0.999}, 0, never, "spool-full spool-filling"},
		{"turned off by a reload", &radiusfront.SpoolStats{Used: 0.2}, 0, never, ""},
		{"the disk fails", &radiusfront.SpoolStats{Error: "no space left on device"}, 0, never, "spool-disk"},
		{"set aside", &radiusfront.SpoolStats{Accepts: true, Aside: 3}, 0, never, "spool-set-aside"},
		{"damage", &radiusfront.SpoolStats{Accepts: true}, 2, never, "spool-damaged"},
		{"another node's", &radiusfront.SpoolStats{Unopened: true, Foreign: true, Error: "x"}, 0, never, "spool-foreign"},
		{"not opened", &radiusfront.SpoolStats{Unopened: true, Error: "read-only file system"}, 0, never, "spool-unopened"},
	} {
		var got []string
		for _, a := range spoolAlarms(test.sp, test.damaged, test.stood) {
			got = append(got, a.name)
			if a.text == "" || strings.Contains(a.text, "%!") {
				t.Errorf("%s: %q", test.what, a.text)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %v", test.what, got)
		}
	}
}
