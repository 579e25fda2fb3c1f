package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// FuzzRequest gives the handler at admin.listen whatever a stranger may send. Nothing may
// panic, the node may be asked for a change only with the token and by one of its own
// names, and every answer is JSON that says why.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "/api/v1/drain", "target=pool/resolvers/fulmine&for=30m&force=true", "127.0.0.1:8053", "", "Bearer "+testToken)
	f.Add("POST", "/api/v1/undrain", "target=node", "evil.example", "", "Bearer "+testToken)
	f.Add("POST", "/api/v1/reload", "allow_empty=true", "localhost", "http://evil.example", "Bearer "+testToken)
	f.Add("POST", "/api/v1/reload", "", "[::1]:8053", "http://[::1]:8053", "bearer  x")
	f.Add("GET", "/api/v1/events", "last=3", "garibaldi-1", "null", "")
	f.Add("GET", "/readyz", "%zz;", "[", "://", "Bearer")
	f.Add("BREW", "/../\x00", "=&=&&", "]:", "http://[", "\xff")
	f.Fuzz(func(t *testing.T, method, path, query, host, origin, authorization string) {
		node := &fakeNode{t: t}
		registry, err := NewRegistry(Build{}, func() Snapshot { return Snapshot{} })
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Options{Node: node, Registry: registry, Name: "garibaldi-1"})
		if err != nil {
			t.Fatal(err)
		}
		s.token.Store(newToken(testToken))
		r := &http.Request{
			Method: method, URL: &url.URL{Path: path, RawQuery: query}, Host: host, Body: http.NoBody, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Origin": {origin}, "Authorization": {authorization}},
		}
		w := httptest.NewRecorder()
		s.handler(doorListen, "127.0.0.1").ServeHTTP(w, r)
		if s.panics.Load() > 0 {
			t.Fatal("the handler panicked")
		}
		if calls := node.taken(); len(calls) > 0 && (method != "POST" || newToken(testToken).check(r) != nil || !newGuard("127.0.0.1", "garibaldi-1").ours(host)) {
			t.Errorf("a stranger made the node do %v", calls)
		}
		if path == "/metrics" || path == "/api/v1/events" || path == "/api/v1/openapi.yaml" {
			return
		}
		if w.Code != http.StatusOK && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d %q", w.Code, w.Body)
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{"", "node", "service/resolver", "anycast/dns-vip", "pool/resolvers/fulmine", "pool//", "service/a/b", "node/\x00", "service/\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		target, err := ParseTarget(text)
		if err == nil && target.String() != text {
			t.Errorf("%q is read as %q", text, target)
		}
		if err != nil && (target != Target{} || !isBadArgument(err)) {
			t.Errorf("%q: %v, %v", text, target, err)
		}
		if d, err := ParseFor(text); err == nil && (d <= 0 || d > MaxDrain) || err != nil && (d != 0 || !isBadArgument(err)) {
			t.Errorf("%q lasts %v, %v", text, d, err)
		}
	})
}
