package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func withRecords(t *testing.T, n uint64) *testServer {
	s := startServer(t, nil)
	s.node.n = n
	return s
}

func pageOf(t *testing.T, s *testServer, query string) SpoolPage {
	t.Helper()
	code, body, _ := ask(t, s.overSocket, "GET", "http://node/api/v1/spool"+query)
	var page SpoolPage
	if err := json.Unmarshal([]byte(body), &page); err != nil || code != 200 {
		t.Fatalf("%d %v %s", code, err, body)
	}
	return page
}

// TestR45PagesAreBoundedAndComplete: a program that follows `next` sees every record once.
func TestR45PagesAreBoundedAndComplete(t *testing.T) {
	s := withRecords(t, 250)
	first := pageOf(t, s, "")
	if len(first.Records) != 100 || first.Next != "pppoe/100" || len(first.Spools) != 2 || first.Spools[0].SetAside != 25 {
		t.Fatalf("%d records, next %q, %+v", len(first.Records), first.Next, first.Spools)
	}
	if strings.Contains(fmt.Sprintf("%+v", first), "User-Password") {
		t.Error("a list has attributes")
	}
	for query, want := range map[string]int{"?limit=33": 500, "?service=dsl": 250, "?set_aside=true&limit=7": 50, "?session=s3&user=u1&limit=2": 14, "?service=pppoe&after=pppoe/240": 10} {
		var got []string
		for next, after := "", ""; ; after = next {
			q := query
			if after != "" {
				q = strings.Split(query, "&after")[0] + "&after=" + url.QueryEscape(after)
			}
			page := pageOf(t, s, q)
			for _, r := range page.Records {
				got = append(got, r.Record)
			}
			if next = page.Next; next == "" {
				break
			}
		}
		if len(got) != want || len(slices.Compact(slices.Sorted(slices.Values(got)))) != want {
			t.Errorf("%s: %d records of %d", query, len(got), want)
		}
	}
	// What fits nothing is looked for in bounded pieces.
	s.node.n = maxSpoolPass + 10
	page := pageOf(t, s, "?user=nobody")
	if len(page.Records) != 0 || page.Next != fmt.Sprint("pppoe/", maxSpoolPass) {
		t.Errorf("next %q", page.Next)
	}
}

func TestR45RecordsAreForTheSocketAlone(t *testing.T) {
	s := withRecords(t, 10)
	for path, method := range map[string]string{
		"/api/v1/spool": "GET", "/api/v1/spool/record?record=pppoe/1": "GET", "/api/v1/spool/export": "GET",
		"/api/v1/spool/retry?all=true": "POST", "/api/v1/spool/drop?all=true": "POST",
	} {
		code, body, _ := ask(t, s.overListen, method, s.url(path), bearer(testToken))
		if code != 403 || !strings.Contains(body, "over the socket only") {
			t.Errorf("%s: %d %s", path, code, body)
		}
		if code, body, _ = ask(t, s.overSocket, method, "http://node"+path); code != 200 {
			t.Errorf("%s over the socket: %d %s", path, code, body)
		}
	}
	if got := s.refusals.total(refusedSocketOnly); got != 5 {
		t.Errorf("%d turned away", got)
	}
}

func TestR45OneRecordInWords(t *testing.T) {
	s := withRecords(t, 10)
	code, body, _ := ask(t, s.overSocket, "GET", "http://node/api/v1/spool/record?record=dsl/7")
	var r SpoolRecord
	if err := json.Unmarshal([]byte(body), &r); err != nil || code != 200 || r.Record != "dsl/7" || len(r.Attributes) != 2 {
		t.Errorf("%d %v %s", code, err, body)
	}
	for record, want := range map[string]int{"pppoe/99": 404, "dsl/0": 404, "none/1": 404, "pppoe": 400, "": 400, "/1": 400, "pppoe/x": 400} {
		if code, body, _ := ask(t, s.overSocket, "GET", "http://node/api/v1/spool/record?record="+record); code != want {
			t.Errorf("%q: %d %s", record, code, body)
		}
	}
}

// TestR45NothingIsDroppedByLeavingSomethingOut: a change names what it changes.
func TestR45NothingIsDroppedByLeavingSomethingOut(t *testing.T) {
	s := withRecords(t, 10)
	for query, want := range map[string]string{
		"":                              "which records?",
		"?service=pppoe":                "which records?",
		"?all=false":                    "which records?",
		"?all=yes":                      "all is true or false",
		"?all=true&user=a":              "not both",
		"?record=pppoe":                 "not a record",
		"?nas=bras-1":                   "nas is an IP address",
		"?user=a&user=b":                "more than once",
		"?usr=a":                        "no such argument",
		"?record=pppoe/1&set_aside=yes": "set_aside is true or false",
	} {
		code, body, _ := ask(t, s.overSocket, "POST", "http://node/api/v1/spool/drop"+query)
		if code != 400 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
	if calls := s.node.taken(); len(calls) != 0 {
		t.Fatalf("the node was asked: %v", calls)
	}
	for _, query := range []string{"?all=true", "?record=pppoe/3", "?set_aside=true&service=dsl", "?user=a&session=b&nas=10.1.0.1"} {
		code, body, _ := ask(t, s.overSocket, "POST", "http://node/api/v1/spool/drop"+query)
		if code != 200 || !strings.Contains(body, `"records": 3`) || !strings.Contains(body, `"in_delivery": 1`) {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
	if calls := s.node.taken(); len(calls) != 4 || !strings.HasPrefix(calls[0], "drop {Service: Record:/0 ") {
		t.Error(calls)
	}
}

func TestR45ExportEndsWithItsNumbers(t *testing.T) {
	s := withRecords(t, 5000)
	s.node.rotten = true
	r, err := s.overSocket.Get("http://node/api/v1/spool/export?service=pppoe")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if r.Trailer.Get(TrailerRecords) != "4999" || r.Trailer.Get(TrailerDamaged) != "1" {
		t.Errorf("%v", r.Trailer)
	}
	want := "Sat Nov 28 15:23:04 2026\n\tUser-Name = \"u1\"\n\tClient-IP-Address = 10.1.0.1\n\tTimestamp = 1795879384\n\n"
	if text := string(body); !strings.HasPrefix(text, want) || strings.Count(text, "\n\n") != 4999 || strings.Contains(text, "Password") {
		t.Errorf("%.300s", text)
	}
	code, lines, _ := ask(t, s.overSocket, "GET", "http://node/api/v1/spool/export?service=dsl&format=json&set_aside=true")
	var first SpoolRecord
	if err := json.Unmarshal([]byte(strings.SplitN(lines, "\n", 2)[0]), &first); err != nil || code != 200 || first.Record != "dsl/10" || len(first.Attributes) != 2 {
		t.Errorf("%d %v %.200s", code, err, lines)
	}
	if n := strings.Count(lines, "\n"); n != 500 {
		t.Errorf("%d lines", n)
	}
}

// TestR45AnExportThatIsCutOffDoesNotLookWhole, and one that cannot begin says why.
func TestR45AnExportThatIsCutOffDoesNotLookWhole(t *testing.T) {
	s := withRecords(t, 5000)
	s.node.fakeSpools.err = errors.New("the spool is closed")
	r, err := s.overSocket.Get("http://node/api/v1/spool/export")
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(r.Body)
	if err == nil || r.Trailer.Get(TrailerRecords) != "" || s.panics.Load() != 0 {
		t.Errorf("%v %v, %d panics", err, r.Trailer, s.panics.Load())
	}
	_ = r.Body.Close()
	s.node.n = 10
	if code, body, _ := ask(t, s.overSocket, "GET", "http://node/api/v1/spool/export"); code != 500 || !strings.Contains(body, "the spool is closed") {
		t.Errorf("%d %s", code, body)
	}
	if code, body, _ := ask(t, s.overSocket, "GET", "http://node/api/v1/spool/export?format=xml"); code != 400 || !strings.Contains(body, "detail or json") {
		t.Errorf("%d %s", code, body)
	}
}

// TestR45ExportsAreBounded: those that nobody reads hold a place until their time is over,
// and the next is told.
func TestR45ExportsAreBounded(t *testing.T) {
	s := startServer(t, func(_ *Options, l *limits) { l.write = 200 * time.Millisecond })
	s.node.n = 200_000
	var idle []*http.Response
	for range 2 {
		r, err := s.overSocket.Get("http://node/api/v1/spool/export")
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, r)
	}
	if code, body, _ := ask(t, s.overSocket, "GET", "http://node/api/v1/spool/export?set_aside=true"); code != 503 || !strings.Contains(body, "other exports") {
		t.Errorf("%d %s", code, body)
	}
	for deadline := time.Now().Add(20 * time.Second); len(s.exports) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("who does not read is waited for")
		}
	}
	for _, r := range idle {
		_ = r.Body.Close()
	}
}

// TestR45AnExportEndsWithItsReader: also one that has nothing to write, on which no write fails.
func TestR45AnExportEndsWithItsReader(t *testing.T) {
	s := withRecords(t, 1<<60)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/api/v1/spool/export?user=nobody", nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := s.overSocket.Do(r)
		ended <- err
	}()
	until := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); len(s.exports) != n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d exports run, not %d", len(s.exports), n)
			}
		}
	}
	until(1)
	leave()
	if err := <-ended; err == nil {
		t.Error("it ended")
	}
	until(0)
}
