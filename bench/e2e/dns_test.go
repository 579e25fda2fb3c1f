package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sereno/bench/e2e/harness"
)

// TestE2EDigAndKdigGetUnboundsAnswers asks the front and Unbound the same, and compares rcode and records.
func TestE2EDigAndKdigGetUnboundsAnswers(t *testing.T) {
	lab := harness.New(t)
	one, two := lab.Unbound(1), lab.Unbound(2)
	s := lab.Sereno(harness.Config{Unbounds: []*harness.Unbound{one, two}})
	for _, client := range [][]string{{"dig"}, {"dig", "+tcp"}, {"kdig"}, {"kdig", "+tcp"}} {
		for _, question := range []string{
			"www.example.test A", "www.example.test AAAA", "WWW.Example.TEST A", "alias.example.test A", "example.test MX",
			"example.test NS", "example.test SOA", "txt.example.test TXT", "big.example.test TXT", "_sip._udp.example.test SRV",
			"odd.example.test TYPE65280", "nothing.example.test A", "www.example.test MX", ". NS",
		} {
			direct := ask(t, lab, client, one.Addr, question)
			if direct == "" || !strings.Contains(direct, "NOERROR") && !strings.Contains(direct, "NXDOMAIN") {
				t.Fatalf("%v %s from unbound: %q", client, question, direct)
			}
			for _, time := range []string{"first", "second"} {
				if got := ask(t, lab, client, s.DNS, question); got != direct {
					t.Errorf("%v %s, asked a %s time:\n%s\nunbound:\n%s", client, question, time, got, direct)
				}
			}
		}
	}
	s.WaitIdle()
	m := s.Metrics()
	if hits := m.Sum("sereno_dns_answers_total", "source", "cache"); hits == 0 {
		t.Error("nothing came from the cache")
	}
	if tcp := m.Sum("sereno_dns_queries_total", "transport", "tcp"); tcp < 56 {
		t.Errorf("%g queries over TCP", tcp)
	}
}

// ask gives the rcode and the sorted answer records without TTLs.
func ask(t *testing.T, lab *harness.Lab, client []string, server netip.AddrPort, question string) string {
	t.Helper()
	args := []string{"@" + server.Addr().String(), "-p", strconv.Itoa(int(server.Port()))}
	args = append(args, strings.Fields(question)...)
	args = append(args, client[1:]...)
	if client[0] == "dig" {
		args = append(args, "+nocookie", "+noall", "+comments", "+answer", "+nottlid", "+tries=1", "+time=5")
	} else {
		args = append(args, "+noall", "+header", "+answer", "+nottl", "+retry=0", "+time=5")
	}
	out, code := lab.Output("", client[0], args...)
	if code != 0 {
		t.Errorf("%v ended with %d:\n%s", args, code, out)
	}
	var lines []string
	status := ""
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if _, rest, ok := strings.Cut(line, "status: "); ok {
			status, _, _ = strings.Cut(strings.ReplaceAll(rest, ";", ","), ",")
		}
		if line != "" && line[0] != ';' {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	slices.Sort(lines)
	return strings.Join(append([]string{status}, lines...), "\n")
}

// TestE2EDnsperfLosesNothing lets another load generator judge.
func TestE2EDnsperfLosesNothing(t *testing.T) {
	lab := harness.New(t)
	s := lab.Sereno(harness.Config{Unbounds: []*harness.Unbound{lab.Unbound(1), lab.Unbound(2)}})
	var questions strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&questions, "n%d.%s.load.test A\n", i, harness.LoadLabels)
	}
	file := filepath.Join(lab.Dir(), "questions")
	if err := os.WriteFile(file, []byte(questions.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"udp", "tcp"} {
		out, code := lab.Output("", "dnsperf", "-s", s.DNS.Addr().String(), "-p", strconv.Itoa(int(s.DNS.Port())),
			"-d", file, "-m", mode, "-c", "10", "-Q", "2000", "-l", "3")
		if code != 0 || !strings.Contains(out, "Queries lost:         0 (0.00%)") || !strings.Contains(out, "(100.00%)") ||
			!strings.Contains(out, "Response codes:       NOERROR") {
			t.Errorf("dnsperf over %s ended with %d:\n%s", mode, code, out)
		}
	}
	s.WaitIdle()
}
