package admin

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func (n *fakeNode) Availability(service string, lengths []time.Duration) (Availability, error) {
	mtbf, mttr, share := Seconds(3000), Seconds(600), Percent(99.9999999)
	a := Availability{Node: "garibaldi-1", At: At(time.Unix(7200, 0)), TargetPercent: 99.99}
	for _, name := range []string{"resolver", `od"d,name`} {
		b := Books{Kind: "service", Name: name, State: "up", Since: At(time.Unix(1, 0)), First: At(time.Unix(1, 0))}
		for _, d := range lengths {
			b.Windows = append(b.Windows, Figures{
				Window: WindowText(d), To: a.At, Up: 6600, Down: 600, Outages: 1, MTBF: &mtbf, MTTR: &mttr, AvailabilityPercent: &share,
				Last: &Outage{From: At(time.Unix(60, 0)), Down: 600, Cause: "closed"},
			})
		}
		a.Objects = append(a.Objects, b)
	}
	return a, n.note("availability %s %v", service, lengths)
}

func TestA32AvailabilityOverTheAPI(t *testing.T) {
	s := startServer(t, nil)
	code, body, header := ask(t, s.overListen, "GET", s.url("/api/v1/availability?service=resolver&since=30d"))
	var a Availability
	if err := json.Unmarshal([]byte(body), &a); err != nil || code != 200 || header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v %v", code, header, err)
	}
	if f := a.Objects[0].Windows[0]; f.Window != "30d" || *f.MTBF != 3000 || f.Longest != nil || f.Last.Cause != "closed" {
		t.Errorf("%+v", f)
	}
	if !strings.Contains(body, `"availability_percent": 99.9999999`) && !strings.Contains(body, `"availability_percent":99.9999999`) || !strings.Contains(body, "null") {
		t.Error(body)
	}
	if calls := s.node.taken(); len(calls) != 1 || calls[0] != "availability resolver [720h0m0s]" {
		t.Errorf("%v", calls)
	}
	if code, _, _ = ask(t, s.overSocket, "GET", "http://node/api/v1/availability"); code != 200 {
		t.Errorf("over the socket: %d", code)
	}
	if calls := s.node.taken(); len(calls) != 1 || calls[0] != "availability  [1h0m0s 24h0m0s 168h0m0s 720h0m0s 8760h0m0s]" {
		t.Errorf("%v", calls)
	}
}

func TestA32AvailabilityAsCSV(t *testing.T) {
	s := startServer(t, nil)
	code, body, header := ask(t, s.overListen, "GET", s.url("/api/v1/availability?format=csv"))
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil || code != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/csv") {
		t.Fatalf("%d %v %v", code, header, err)
	}
	if len(rows) != 11 || strings.Join(rows[0], ",") != strings.Join(bookColumns, ",") {
		t.Fatalf("%d rows under %v", len(rows), rows[0])
	}
	get := func(row int, column string) string {
		for i, name := range bookColumns {
			if name == column {
				return rows[row][i]
			}
		}
		t.Fatalf("there is no column %s", column)
		return ""
	}
	for column, want := range map[string]string{
		"name": `od"d,name`, "window": "1h", "up_seconds": "6600", "mttr_seconds": "600", "longest_seconds": "", "last_until": "",
		"last_from": "1970-01-01T00:01:00Z", "availability_percent": "99.9999999", "good_percent": "", "target_percent": "99.99",
	} {
		if got := get(6, column); got != want {
			t.Errorf("%s is %q, want %q", column, got, want)
		}
	}
}

func TestA32AvailabilityOfNonsense(t *testing.T) {
	s := startServer(t, nil)
	for _, query := range []string{"since=yesterday", "since=0s", "since=-1h", "since=9999d", "format=xml"} {
		if code, body, _ := ask(t, s.overListen, "GET", s.url("/api/v1/availability?"+query)); code != 400 || !strings.Contains(body, "bad argument") {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
	if calls := s.node.taken(); len(calls) != 0 {
		t.Errorf("the node was asked: %v", calls)
	}
	s.node.err = fmt.Errorf("%w: no service x", ErrNotFound)
	if code, body, _ := ask(t, s.overListen, "GET", s.url("/api/v1/availability?service=x")); code != 404 || !strings.Contains(body, "no service x") {
		t.Errorf("%d %s", code, body)
	}
}

func TestA30PercentIsNeverRoundedUp(t *testing.T) {
	for p, want := range map[Percent]string{
		100: "100", 99.99999999: "99.9999", 99.99: "99.99", 99.9999: "99.9999", 0: "0", 33.33339: "33.3333", 100 - 1e-12: "99.9999",
	} {
		if got := p.String(); got != want {
			t.Errorf("%v is %s, want %s", float64(p), got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		time.Hour: "1h", 24 * time.Hour: "24h", 48 * time.Hour: "2d", 365 * 24 * time.Hour: "365d", 90 * time.Minute: "1h30m", 30 * time.Minute: "30m", 90 * time.Second: "1m30s",
	} {
		if got := WindowText(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}
