package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/scrape"
	"sereno/bench/load"
	"sereno/config"
	"sereno/config/spoil"
)

// refusal is a wrong configuration with what is to be said of it.
type refusal struct {
	spoil.Wrong
	problems []string
}

// TestE2EO04ReloadOfEveryMistake reloads, under traffic, the node's own configuration and the reference with each key
// spoilt: every key in one way at least and every way at some key; in the long form every key in every way. Each is
// refused with all that is wrong in it, and leaves no trace: not in the configuration, not in the traffic, not in the
// process.
func TestE2EO04ReloadOfEveryMistake(t *testing.T) {
	t.Parallel()
	lab := harness.New(t)
	r := newReloadSite(t, lab)
	reference, err := os.ReadFile("../../config/reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lab.Write("secrets/tempesta", "secret-of-the-reference\n")
	own := r.yaml()
	began := time.Now()
	mistakes := slices.Concat(r.mistakes(t, own), r.mistakes(t, string(reference)))
	t.Logf("%d mistakes made in %s", len(mistakes), time.Since(began).Round(time.Millisecond))

	d, err := load.NewDNS(load.DNSConfig{
		Common:  load.Common{Rate: 1000, Timeout: 4 * time.Second},
		Targets: []netip.AddrPort{r.s.DNS}, Names: 2000, Zipf: 0.9, New: 0.2, Labels: "ttl-600",
	})
	if err != nil {
		t.Fatal(err)
	}
	queries := start(t, d.Run, d.Books, d.Use)
	_, logins := radiusLoad(t, r.s, load.RADIUSConfig{Common: load.Common{Rate: 400, Timeout: 6 * time.Second}, PAP: 2, CHAP: 1, Acct: 1})
	queries.sent(lab, 500)

	was, tally := r.config(t), map[string]int{}
	var early harness.Metrics
	began = time.Now()
	for n := range mistakes {
		if n == len(mistakes)/4 { // the heap has its size by then
			early = r.s.Metrics()
		}
		r.refused(t, n, &mistakes[n], was, tally)
		if t.Failed() {
			t.FailNow()
		}
	}
	late := r.s.Metrics()
	t.Logf("%d mistakes in %s: %v", len(mistakes), time.Since(began).Round(time.Millisecond), tally)
	for name, most := range map[string]float64{"process_resident_memory_bytes": 32 << 20, "process_open_fds": 20, "go_goroutines": 40} {
		before, now := early.Sum(name), late.Sum(name)
		t.Logf("%s: %.0f after a quarter of them, %.0f at the end", name, before, now)
		if before == 0 || now > before+most {
			t.Errorf("%s grew from %.0f to %.0f", name, before, now)
		}
	}
	queries.nothingLost("DNS")
	logins.nothingLost("RADIUS")
	r.write(own)
	if code, body := r.post(t, "/api/v1/reload"); code != http.StatusOK {
		t.Errorf("reload of the right configuration after all: %d\n%s", code, body)
	}
	if now := r.config(t); now.Hash != was.Hash || now.LastError != "" {
		t.Errorf("with the right configuration again it was %+v and is %+v", was, now)
	}
	r.s.WaitIdle()
}

// mistakes spoils a configuration that is right and gives what is refused then: the first way for every key and the
// first key for every way, and every 29th text beside, or all of them.
func (r *reloadSite) mistakes(t *testing.T, text string) (out []refusal) {
	t.Helper()
	all, good, err := spoil.All([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, report := config.Parse(r.s.ConfigFile, []byte(good), config.Options{}); report.Err() != nil {
		t.Fatalf("unspoilt, it is wrong already: %v", report.Err())
	}
	type key string
	type how string
	had := map[any]bool{}
	for i, w := range all {
		if !whole && had[key(w.Key)] && had[how(w.How)] && i%29 != 0 {
			continue
		}
		if _, report := config.Parse(r.s.ConfigFile, []byte(w.Text), config.Options{}); report.Err() != nil {
			had[key(w.Key)], had[how(w.How)] = true, true
			out = append(out, refusal{w, strings.Split(report.Err().Error(), "\n")})
		}
	}
	places, err := spoil.Places([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for path, place := range places {
		asFirst := place.Kind == spoil.Scalar && strings.HasSuffix(path, "]") && !strings.HasSuffix(path, "[0]")
		if !asFirst && !had[key(path)] {
			t.Errorf("%s was not spoilt in any way that is refused", path)
		}
	}
	return out
}

// refused reloads a wrong configuration by one of the three ways, mostly the API.
func (r *reloadSite) refused(t *testing.T, n int, m *refusal, was scrape.LoadedConfig, tally map[string]int) {
	t.Helper()
	what := fmt.Sprintf("reload %d (%s: %s)", n, m.Key, m.How)
	lastError := "the configuration has errors\n" + strings.Join(m.problems, "\n")
	r.lab.Write("sereno.yaml", m.Text)
	switch by := n % 100; {
	case by == 33 && r.config(t).LastError != lastError:
		tally["SIGHUP"]++
		r.s.Signal(syscall.SIGHUP)
		r.lab.Eventually(10*time.Second, what+" is refused", func() bool { return r.config(t).LastError == lastError })
	case by == 66:
		tally["sereno reload"]++
		if out, code := r.command(t, "reload", "-c", r.s.ConfigFile); code != 1 || !strings.Contains(out, m.problems[0]) {
			t.Errorf("%s ended with %d:\n%s\nand not with\n%s", what, code, out, m.problems[0])
		}
	default:
		tally["API"]++
		var told struct{ Details []string }
		code, body := r.post(t, "/api/v1/reload")
		if err := json.Unmarshal(body, &told); err != nil || code != http.StatusConflict {
			t.Errorf("%s: %d, %v\n%s", what, code, err, body)
		}
		if !slices.Equal(told.Details, m.problems) {
			t.Errorf("%s is refused for\n%s\nand not for\n%s", what, strings.Join(told.Details, "\n"), strings.Join(m.problems, "\n"))
		}
	}
	if now := r.config(t); now.Hash != was.Hash || now.Loaded != was.Loaded || now.LastError != lastError {
		t.Errorf("%s: it was %+v and is %+v", what, was, now)
	}
}
