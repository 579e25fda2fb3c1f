package demo

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sereno/bgp/speaker"
)

var update = flag.Bool("update", false, "write the golden files anew")

// tell gives the story of a world, and how it ended.
func tell(w *fakeWorld) (string, error) {
	var out strings.Builder
	s := &story{narrator: newNarrator(&out, w.now), w: w}
	err := s.tell(context.Background(), func() error { return nil })
	return out.String(), err
}

// lastLine is what programs look at.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return lines[len(lines)-1]
}

func TestO14StoryReadsWell(t *testing.T) {
	got, err := tell(newFakeWorld(t))
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "story.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the story has changed (-update writes it anew):\n%s", got)
	}
	for line := range strings.Lines(got) {
		if line = strings.TrimSuffix(line, "\n"); len(line) > columns || line != strings.TrimRight(line, " ") {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
	if last := lastLine(got); last != "demo: nothing lost" {
		t.Errorf("last line: %q", last)
	}
}

// TestO14TheEndIsTheLastWord: what the routes do while everything is closed is no news.
func TestO14TheEndIsTheLastWord(t *testing.T) {
	var out strings.Builder
	s := &story{narrator: newNarrator(&out, time.Now), w: newFakeWorld(t)}
	st := &stage{layout: &layout{}, routes: newRoutes(map[string]int{"127.0.0.1": 0})}
	told := speaker.RouterEvent{At: time.Now(), Event: "announced", Prefix: dnsPrefix, Peer: "127.0.0.1"}
	st.routes.event(told)
	if err := s.play(context.Background(), strings.NewReader("routes\nquit\n"), st); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "router: "+dnsPrefix+" leads to site 1") {
		t.Errorf("the routes are not told:\n%s", out.String())
	}
	before := out.Len()
	told.Event = "withdrawn"
	st.routes.event(told)
	if more := out.String()[before:]; more != "" {
		t.Errorf("after the end: %s", more)
	}
}

func TestO14LostRequestsAreTold(t *testing.T) {
	for name, lose := range map[string]func(*fakeWorld){
		"LOST 3: DNS 2 unanswered, 1 wrong; RADIUS 0 unanswered, 0 wrong, 0 missing": func(w *fakeWorld) { w.dns.Lost, w.dns.Wrong = 2, 1 },
		"LOST 1: DNS 0 unanswered, 0 wrong; RADIUS 1 unanswered, 0 wrong, 0 missing": func(w *fakeWorld) { w.radius.Lost = 1 },
		"LOST 4: DNS 0 unanswered, 0 wrong; RADIUS 0 unanswered, 0 wrong, 4 missing": func(w *fakeWorld) { w.missing = 4 },
	} {
		w := newFakeWorld(t)
		lose(w)
		got, err := tell(w)
		if !errors.Is(err, ErrLost) || lastLine(got) != "demo: "+name {
			t.Errorf("%v, %q", err, lastLine(got))
		}
	}
}

func TestO20DemoHoldsTheNodesToTheirCounters(t *testing.T) {
	w := newFakeWorld(t)
	w.unaccounted = 1
	got, err := tell(w)
	if !errors.Is(err, ErrLost) || !strings.HasPrefix(lastLine(got), "demo: LOST") || !strings.Contains(got, "site 2: resolver has received 10 requests, and accounts for 9") {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestO14StoryThatStopsIsNotAGoodOne(t *testing.T) {
	w := newFakeWorld(t)
	w.onWait = func() {
		if w.seenDown("dns-1") && len(w.troubles) == 0 {
			w.troubles <- errors.New("node has ended (exit status 1):\nlast words")
		}
	}
	got, err := tell(w)
	if !errors.Is(err, ErrLost) || !strings.HasPrefix(lastLine(got), "demo: LOST") || !strings.Contains(got, "\nlast words\n") {
		t.Errorf("%v\n%s", err, got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out strings.Builder
	w = newFakeWorld(t)
	s := &story{narrator: newNarrator(&out, w.now), w: w}
	if err := s.tell(ctx, func() error { return nil }); !errors.Is(err, errInterrupted) || lastLine(out.String()) != "demo: interrupted" {
		t.Errorf("%v\n%s", err, &out)
	}
}

// TestRoutesFollowTheRouter plays the router's events and looks at who is told what.
func TestRoutesFollowTheRouter(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	r := newRoutes(map[string]int{"127.0.0.1": 0, "127.0.0.2": 1})
	var told []change
	r.onChange(func(c change) { told = append(told, c) })
	for _, e := range []speaker.RouterEvent{
		{Event: "listening"},
		{Event: "announced", Prefix: dnsPrefix, Peer: "127.0.0.1", At: at},
		{Event: "announced", Prefix: dnsPrefix, Peer: "127.0.0.1", At: at.Add(time.Second), MED: 1000},
		{Event: "announced", Prefix: dnsPrefix, Peer: "127.0.0.2", At: at.Add(2 * time.Second)},
		{Event: "withdrawn", Prefix: dnsPrefix, Peer: "127.0.0.2", At: at.Add(3 * time.Second)},
		{Event: "announced", Prefix: dnsPrefix, Peer: "192.0.2.1", At: at.Add(4 * time.Second)},
	} {
		r.event(e)
	}
	want := []change{{at, dnsPrefix, 0}, {at.Add(2 * time.Second), dnsPrefix, 1}, {at.Add(3 * time.Second), dnsPrefix, -1}}
	if len(told) != len(want) {
		t.Fatalf("%v", told)
	}
	for i := range want {
		if told[i] != want[i] {
			t.Errorf("%v instead of %v", told[i], want[i])
		}
	}
	if !r.listening() || r.to(radiusPrefix).Site != -1 {
		t.Errorf("listening %v, %v", r.listening(), r.to(radiusPrefix))
	}
	r.follow(strings.NewReader("{\"event\":\"announced\",\"prefix\":\"192.0.2.18/32\",\"peer\":\"127.0.0.2\"}\nnoise\n"))
	if r.to(radiusPrefix).Site != 1 {
		t.Errorf("%v", r.to(radiusPrefix))
	}
}

func TestFoldKeepsWordsWhole(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"short", 10, "short"},
		{"one two three", 7, "one two|three"},
		{"  one two three", 9, "  one two|  three"},
		{"/a/very/long/path x", 8, "/a/very/long/path|x"},
		{"", 8, ""},
	} {
		if got := strings.Join(fold(c.text, c.width), "|"); got != c.want {
			t.Errorf("%q at %d: %q", c.text, c.width, got)
		}
	}
	if count(1234567) != "1,234,567" || count(999) != "999" || plural(1, "login") != "1 login" || plural(1000, "login") != "1,000 logins" {
		t.Error(count(1234567), count(999), plural(1, "login"), plural(1000, "login"))
	}
}
