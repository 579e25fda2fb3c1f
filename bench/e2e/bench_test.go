package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sereno/bench/capacity"
	"sereno/bench/e2e/harness"
	"sereno/bench/stub"
)

// measure runs `sereno bench` to its end, which must be a good one, and gives its report and its page.
func measure(t *testing.T, lab *harness.Lab, args ...string) (*capacity.Report, string) {
	t.Helper()
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(lab.Dir(), "page.html")
	out, code := lab.Output("", binary, append([]string{"bench", args[0], "--json", "--html", page}, args[1:]...)...)
	var r capacity.Report
	at := strings.Index(out, "{\n")
	if at < 0 || json.Unmarshal([]byte(out[at:]), &r) != nil {
		t.Fatalf("ended with %d:\n%s", code, out)
	}
	html, err := os.ReadFile(page)
	if err != nil || code != 0 || r.Total.Sent != r.Total.Answered+r.Total.Lost+r.Total.Wrong || r.Total.Sent == 0 {
		t.Errorf("ended with %d, %v; %s: %+v", code, err, r.Verdict(), r.Total)
	}
	t.Logf("%s; %s; CPU %+v", r.Verdict(), r.Target, r.Total.CPU)
	return &r, string(html)
}

// TestE2EO10BenchSearchesTheKneeOfANode asks a node before real Unbounds for a list of names with their answers, and
// compares the books with what the node counted.
func TestE2EO10BenchSearchesTheKneeOfANode(t *testing.T) {
	lab := harness.New(t)
	s := lab.Sereno(harness.Config{Unbounds: []*harness.Unbound{lab.Unbound(1), lab.Unbound(2)}})
	var names strings.Builder
	for i := range 200 {
		fmt.Fprintf(&names, "name-%d.%s.load.test A NOERROR 192.0.2.53\n", i, harness.LoadLabels)
	}
	before := s.Metrics().Sum("sereno_dns_queries_total", "transport", "udp")
	// The bounds leave room for what else the machine does; the rates are far below any knee.
	r, page := measure(t, lab, "dns", "--target", s.DNS.String(), "--list", lab.Write("names", names.String()), "--zipf", "1",
		"--search", "--from", "1000", "--to", "4000", "--window", "400ms", "--precision", "0.3", "--max-loss", "5", "--max-p99", "1s", "--timeout", "3s")
	if r.Knee == nil || r.Knee.Rate < 1000 || r.Total.Wrong > 0 {
		t.Errorf("%+v, %d wrong: %v", r.Knee, r.Total.Wrong, r.Total.Examples)
	}
	if n := strings.Count(page, "<svg "); n != 5 {
		t.Errorf("the page has %d charts", n)
	}
	s.WaitIdle()
	counted := s.Metrics().Sum("sereno_dns_queries_total", "transport", "udp") - before
	if counted < float64(r.Total.Sent-r.Total.Lost) || counted > float64(r.Total.Sent)+100 { // with self-probes
		t.Errorf("%d sent, %.0f counted by the node", r.Total.Sent, counted)
	}
}

// TestE2EO10BenchAccountsSessions logs in by every method at a node before real FreeRADIUS servers, and looks for every
// numbered record in what they wrote.
func TestE2EO10BenchAccountsSessions(t *testing.T) {
	lab := harness.New(t)
	one, two := full(lab, 1, ""), full(lab, 2, "")
	s := front{servers: addrs(one, two)}.start(lab)
	var subscribers strings.Builder
	for i := range harness.Users {
		user := fmt.Sprintf("user-%d", i)
		fmt.Fprintf(&subscribers, "%s %s\n", user, stub.Login(user).Password)
	}
	subscribers.WriteString("user-1 another-password reject\n")
	r, _ := measure(t, lab, "radius", "--auth", s.Auth.String(), "--acct", s.Acct.String(), "--secret-file", lab.Write("nas-secret", harness.NASSecret+"\n"),
		"--users", lab.Write("subscribers", subscribers.String()), "--pap", "1", "--chap", "1", "--mschap", "1", "--accounting", "3", "--interims", "1",
		"--rate", "300", "--for", "3s", "--max-loss", "1", "--timeout", "5s", "--resend", "2s")
	if r.Total.Wrong > 0 {
		t.Errorf("%d wrong: %v", r.Total.Wrong, r.Total.Examples)
	}
	session := ""
	for _, setting := range r.Settings {
		if setting.Name == "sessions" {
			session, _, _ = strings.Cut(setting.Value, ",")
		}
	}
	s.WaitIdle()
	records := map[stub.Record]bool{}
	for _, detail := range []map[stub.Record]int{one.Detail(), two.Detail()} {
		for record := range detail {
			if session != "" && strings.HasPrefix(record.Session, session+"-") {
				records[record] = true
			}
		}
	}
	if n := uint64(len(records)); n < r.Total.Sent/2-r.Total.Lost-3 || n > r.Total.Sent/2+3 {
		t.Errorf("%d of about %d records of the sessions %s", n, r.Total.Sent/2, session)
	}
}
