package admin

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestO22ReadsAtBothDoors(t *testing.T) {
	s := startServer(t, nil)
	for name, c := range map[string]*http.Client{"socket": s.overSocket, "listen": s.overListen} {
		for path, want := range map[string]string{
			"/healthz":       "{\n  \"alive\": true\n}\n",
			"/readyz":        "{\n  \"ready\": true,\n  \"reasons\": []\n}\n",
			"/api/v1/status": `"name": "dns-vip"`,
			"/metrics":       "sereno_config_last_reload_success 1\n",
		} {
			code, body, header := ask(t, c, "GET", s.url(path))
			if code != 200 || !strings.Contains(body, want) {
				t.Errorf("%s: GET %s: %d %s", name, path, code, body)
			}
			if kind := header.Get("Content-Type"); path != "/metrics" && kind != "application/json" {
				t.Errorf("%s: GET %s is %s", name, path, kind)
			}
			if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: GET %s: %v", name, path, header)
			}
			if code, body, _ := ask(t, c, "HEAD", s.url(path)); code != 200 || body != "" {
				t.Errorf("%s: HEAD %s: %d %q", name, path, code, body)
			}
		}
	}
}

func TestO22NotReady(t *testing.T) {
	s := startServer(t, nil)
	s.node.reasons = []string{"service resolver: no-healthy-backend"}
	code, body, _ := ask(t, s.overListen, "GET", s.url("/readyz"))
	var got Readiness
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if code != 503 || got.Ready || !slices.Equal(got.Reasons, s.node.reasons) {
		t.Errorf("%d %s", code, body)
	}
	if code, _, _ := ask(t, s.overListen, "GET", s.url("/healthz")); code != 200 {
		t.Errorf("a node that is not ready lives all the same: %d", code)
	}
}

func TestO22ChangesReachTheNode(t *testing.T) {
	s := startServer(t, nil)
	for _, test := range []struct{ query, call, answer string }{
		{"drain?target=node", "drain node 0s false", `"until": null`},
		{"drain?target=pool/resolvers/fulmine&for=30m&force=true", "drain pool/resolvers/fulmine 30m0s true", `"until": "1970-01-01T00:30:01Z"`},
		{"drain?target=service%2Fr%C3%A9seau&force=false", "drain service/réseau 0s false", `"target": "service/réseau"`},
		{"undrain?target=anycast/dns-vip", "undrain anycast/dns-vip", `"target": "anycast/dns-vip"`},
		{"reload", "reload false", `"key": "dns[resolver].udp_size"`},
		{"reload?allow_empty=true", "reload true", `"routes": []`},
		{"forget?service=pppoe", "forget pppoe invalid IP", `"sources": 2`},
		{"forget?service=pppoe&address=10.1.0.1", "forget pppoe 10.1.0.1", `"service": "pppoe"`},
		{"flush?service=resolver", "flush resolver  false", `"entries": 3`},
		{"flush?service=resolver&name=example.com.&subtree=true", "flush resolver example.com. true", `"service": "resolver"`},
	} {
		for name, c := range map[string]*http.Client{"socket": s.overSocket, "listen": s.overListen} {
			code, body, _ := ask(t, c, "POST", s.url("/api/v1/"+test.query), bearer(testToken))
			if calls := s.node.taken(); code != 200 || !slices.Equal(calls, []string{test.call}) || !strings.Contains(body, test.answer) {
				t.Errorf("%s: POST %s: %d %s: %v", name, test.query, code, body, calls)
			}
		}
	}
	if code, _, _ := ask(t, s.overSocket, "POST", s.url("/api/v1/reload")); code != 200 {
		t.Errorf("over the socket without a token: %d", code)
	}
}

func TestO22ChangesNeedTheTokenAtListen(t *testing.T) {
	s := startServer(t, nil)
	off := startServer(t, func(o *Options, _ *limits) { o.Doors.Token = "" })
	for _, test := range []struct {
		name    string
		server  *testServer
		headers [][2]string
		code    int
	}{
		{"none", s, nil, 401},
		{"empty", s, [][2]string{bearer("")}, 401},
		{"another scheme", s, [][2]string{{"Authorization", "Basic " + testToken}}, 401},
		{"wrong", s, [][2]string{bearer("x")}, 403},
		{"too long", s, [][2]string{bearer(testToken + "x")}, 403},
		{"too short", s, [][2]string{bearer(testToken[:5])}, 403},
		{"another case", s, [][2]string{bearer(strings.ToUpper(testToken))}, 403},
		{"not text", s, [][2]string{bearer("\u00ff\u0080")}, 403},
		{"right", s, [][2]string{{"Authorization", "bearer " + testToken}}, 200},
		{"none configured, none shown", off, nil, 403},
		{"none configured, empty shown", off, [][2]string{bearer("")}, 403},
		{"none configured, one shown", off, [][2]string{bearer(testToken)}, 403},
	} {
		code, body, header := ask(t, test.server.overListen, "POST", test.server.url("/api/v1/drain?target=node"), test.headers...)
		calls := test.server.node.taken()
		if code != test.code || (len(calls) > 0) != (code == 200) {
			t.Errorf("%s: %d %s: %v", test.name, code, body, calls)
		}
		if strings.Contains(body, testToken) {
			t.Errorf("%s: the answer tells the token: %s", test.name, body)
		}
		if code == 401 && header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: 401 without WWW-Authenticate", test.name)
		}
	}
	if err := s.Update(Doors{Socket: s.socket, Listen: s.wanted.Listen, Token: "another one"}); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := ask(t, s.overListen, "POST", s.url("/api/v1/reload"), bearer(testToken)); code != 403 {
		t.Errorf("the old token after a reload: %d", code)
	}
	if code, _, _ := ask(t, s.overListen, "POST", s.url("/api/v1/reload"), bearer("another one")); code != 200 {
		t.Errorf("the new token after a reload: %d", code)
	}
}

func TestO13ExplanationsAtBothDoors(t *testing.T) {
	s := startServer(t, nil)
	for _, test := range []struct{ query, call, answer string }{
		{"dns?name=www.example.com", "explain dns www.example.com A invalid IP", `"words": ["it is in the cache"]`},
		{"dns?name=a.&type=AAAA&client=::ffff:10.0.0.1", "explain dns a. AAAA 10.0.0.1", `"subject": "resolver"`},
		{"radius?user=alice%40example.net&nas=10.1.0.1", "explain radius alice@example.net 10.1.0.1", `"no such realm"`},
		{"anycast?name=dns-vip", "explain anycast dns-vip", `"subject": "dns-vip"`},
	} {
		for name, c := range map[string]*http.Client{"socket": s.overSocket, "listen": s.overListen} {
			code, body, _ := ask(t, c, "GET", s.url("/api/v1/explain/"+test.query))
			flat := strings.Join(strings.Fields(body), " ")
			flat = strings.NewReplacer("[ ", "[", " ]", "]").Replace(flat)
			if calls := s.node.taken(); code != 200 || !slices.Equal(calls, []string{test.call}) || !strings.Contains(flat, test.answer) {
				t.Errorf("%s: %s: %d %s: %v", name, test.query, code, flat, calls)
			}
		}
	}
}

func TestO22ErrorsAreJSONWithTheirCode(t *testing.T) {
	s := startServer(t, nil)
	for _, test := range []struct {
		method, path string
		node         error
		code         int
		message      string
	}{
		{"GET", "/nothing", nil, 404, "no such path"},
		{"GET", "/api/v1/statusx", nil, 404, "no such path"},
		{"GET", "//healthz", nil, 404, "no such path"},
		{"GET", "/api/v1/../../healthz", nil, 404, "no such path"},
		{"GET", "/%3Cscript%3E", nil, 404, "no such path"},
		{"POST", "/api/v1/status", nil, 405, "takes GET"},
		{"DELETE", "/api/v1/status", nil, 405, "takes GET"},
		{"OPTIONS", "/api/v1/drain?target=node", nil, 405, "takes POST"},
		{"GET", "/api/v1/drain?target=node", nil, 405, "takes POST"},
		{"GET", "/api/v1/undrain?target=node", nil, 405, "takes POST"},
		{"GET", "/api/v1/reload", nil, 405, "takes POST"},
		{"HEAD", "/api/v1/reload", nil, 405, ""},
		{"PUT", "/api/v1/reload", nil, 405, "takes POST"},
		{"POST", "/api/v1/drain", nil, 400, "target is missing"},
		{"POST", "/api/v1/drain?target=", nil, 400, "target is missing"},
		{"POST", "/api/v1/drain?target=everything", nil, 400, "no such target"},
		{"POST", "/api/v1/drain?target=node&target=node", nil, 400, "more than once"},
		{"POST", "/api/v1/drain?target=node&froce=true", nil, 400, "no such argument"},
		{"POST", "/api/v1/drain?target=node&force=yes", nil, 400, "true or false"},
		{"POST", "/api/v1/drain?target=node&force", nil, 400, "true or false"},
		{"POST", "/api/v1/drain?target=node&for=", nil, 400, "not a duration"},
		{"POST", "/api/v1/drain?target=node&for=-3h", nil, 400, "out of range"},
		{"POST", "/api/v1/drain?target=node&for=%00%ff", nil, 400, "not a duration"},
		{"POST", "/api/v1/drain?target=node&for=" + strings.Repeat("9", 9000), nil, 400, "not a duration"},
		{"POST", "/api/v1/drain?target=node;force=true", nil, 400, "query cannot be read"},
		{"POST", "/api/v1/drain?target=%zz", nil, 400, "query cannot be read"},
		{"POST", "/api/v1/undrain?target=node&force=true", nil, 400, "no such argument"},
		{"POST", "/api/v1/reload?allow_empty=1", nil, 400, "true or false"},
		{"GET", "/api/v1/flush?service=resolver", nil, 405, "takes POST"},
		{"POST", "/api/v1/forget", nil, 400, "service is missing"},
		{"POST", "/api/v1/forget?service=pppoe&address=bras", nil, 400, "is an IP address"},
		{"POST", "/api/v1/flush", nil, 400, "service is missing"},
		{"POST", "/api/v1/flush?service=resolver&subtree=true", nil, 400, "subtree of which name"},
		{"POST", "/api/v1/flush?service=x", ErrNotFound, 404, "not found"},
		{"POST", "/api/v1/explain/dns?name=a.", nil, 405, "takes GET"},
		{"GET", "/api/v1/explain/dns", nil, 400, "name is missing"},
		{"GET", "/api/v1/explain/dns?name=a.&client=10.0.0", nil, 400, "is an IP address"},
		{"GET", "/api/v1/explain/radius", nil, 400, "user is missing"},
		{"GET", "/api/v1/explain/radius?user=a&nas=x", nil, 400, "is an IP address"},
		{"GET", "/api/v1/explain/anycast", nil, 400, "anycast entry is missing"},
		{"GET", "/api/v1/explain/anycast?name=x", ErrNotFound, 404, "not found"},
		{"GET", "/api/v1/events?last=-1", nil, 400, "from 0 to 256"},
		{"GET", "/api/v1/events?last=99999999999999999999", nil, 400, "from 0 to 256"},
		{"POST", "/api/v1/undrain?target=service/x", fmt.Errorf("draining: %w: no service x", ErrNotFound), 404, "no service x"},
		{"POST", "/api/v1/undrain?target=service/x", fmt.Errorf("odd: %w", ErrBadArgument), 400, "odd"},
		{"POST", "/api/v1/drain?target=node", Refused("it would withdraw the last route"), 409, "last route"},
		{"POST", "/api/v1/drain?target=node", errors.New("disk on fire"), 500, "disk on fire"},
	} {
		s.node.err = test.node
		code, body, header := ask(t, s.overSocket, test.method, "http://node"+test.path)
		if test.method == "HEAD" {
			body = `{"error":""}`
		}
		var got ErrorBody
		err := json.Unmarshal([]byte(body), &got)
		if code != test.code || err != nil || !strings.Contains(got.Error, test.message) || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %.80s: %d %q, want %d … %s …", test.method, test.path, code, body, test.code, test.message)
		}
		if len(body) > 2500 {
			t.Errorf("%s %.80s: an error of %d bytes", test.method, test.path, len(body))
		}
		if code == 405 && header.Get("Allow") == "" {
			t.Errorf("%s %.80s: 405 without Allow", test.method, test.path)
		}
		if calls := s.node.taken(); (len(calls) > 0) != (test.node != nil) {
			t.Errorf("%s %.80s: the node was asked: %v", test.method, test.path, calls)
		}
	}
}

func TestO04RefusedReloadTellsEveryError(t *testing.T) {
	s := startServer(t, nil)
	details := []string{`a.yaml:3:5: error: dns[0].pool: no pool "x"`, `a.yaml:9:1: error: bpg: no such key: did you mean "bgp"?`}
	s.node.err = fmt.Errorf("reloading: %w", Refused("the configuration has 2 errors", details...))
	code, body, _ := ask(t, s.overSocket, "POST", "http://node/api/v1/reload")
	var got ErrorBody
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if code != 409 || got.Reason != "the configuration has 2 errors" || !slices.Equal(got.Details, details) {
		t.Errorf("%d %s", code, body)
	}
	for _, want := range append(details, got.Reason) {
		if !strings.Contains(got.Error, want) {
			t.Errorf("the error alone does not tell %q: %q", want, got.Error)
		}
	}
}

func TestO22ForeignPagesAreTurnedAway(t *testing.T) {
	s := startServer(t, nil)
	post, get := "/api/v1/drain?target=node", "/api/v1/status"
	for _, test := range []struct {
		name, method, path string
		headers            [][2]string
		code               int
	}{
		{"by address", "GET", get, nil, 200},
		{"by localhost", "GET", get, [][2]string{{"Host", "localhost:8053"}}, 200},
		{"by a name below localhost", "GET", get, [][2]string{{"Host", "sereno.localhost"}}, 200},
		{"by the node's name", "GET", get, [][2]string{{"Host", "GARIBALDI-1.:8053"}}, 200},
		{"by an IPv6 address", "GET", get, [][2]string{{"Host", "[2001:db8::1]:8053"}}, 200},
		{"by an IPv6 address without port", "GET", get, [][2]string{{"Host", "[::1]"}}, 200},
		{"rebound", "GET", get, [][2]string{{"Host", "evil.example"}}, 403},
		{"rebound, metrics", "GET", "/metrics", [][2]string{{"Host", "evil.example"}}, 403},
		{"rebound, no such path", "GET", "/x", [][2]string{{"Host", "evil.example"}}, 403},
		{"rebound, looks like an address", "GET", get, [][2]string{{"Host", "127.0.0.1.evil.example"}}, 403},
		{"rebound, looks like localhost", "GET", get, [][2]string{{"Host", "localhost.evil.example"}}, 403},
		{"rebound with the token", "POST", post, [][2]string{{"Host", "evil.example"}, bearer(testToken)}, 403},
		{"own origin", "GET", get, [][2]string{{"Origin", "http://" + s.listen}}, 200},
		{"own origin with the token", "POST", post, [][2]string{{"Origin", "http://" + s.listen}, bearer(testToken)}, 200},
		{"foreign origin", "GET", get, [][2]string{{"Origin", "https://evil.example"}}, 403},
		{"foreign origin, events", "GET", "/api/v1/events", [][2]string{{"Origin", "https://evil.example"}}, 403},
		{"no origin to speak of", "GET", get, [][2]string{{"Origin", "null"}}, 403},
		{"foreign origin with the token", "POST", post, [][2]string{{"Origin", "https://evil.example"}, bearer(testToken)}, 403},
		{"foreign page without origin", "POST", post, [][2]string{{"Sec-Fetch-Site", "cross-site"}, bearer(testToken)}, 403},
		{"same site, another origin", "POST", post, [][2]string{{"Sec-Fetch-Site", "same-site"}, bearer(testToken)}, 403},
		{"a link on another page", "GET", get, [][2]string{{"Sec-Fetch-Site", "cross-site"}}, 200},
	} {
		code, body, header := ask(t, s.overListen, test.method, s.url(test.path), test.headers...)
		calls := s.node.taken()
		if code != test.code || (len(calls) > 0) != (code == 200 && test.method == "POST") {
			t.Errorf("%s: %d %s: %v", test.name, code, body, calls)
		}
		for name := range header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: another origin is let in: %s", test.name, name)
			}
		}
	}
}

func TestMetricsUnderAnyNameWhereOthersAskForThem(t *testing.T) {
	for _, test := range []struct {
		listen, host, path string
		code               int
	}{
		{"0.0.0.0:0", "node-1.example.net:8053", "/metrics", 200},
		{"0.0.0.0:0", "node-1.example.net:8053", "/readyz", 200},
		{"0.0.0.0:0", "node-1.example.net:8053", "/api/v1/status", 403},
		{"localhost:0", "node-1.example.net:8053", "/metrics", 403},
		{"localhost:0", "localhost:8053", "/api/v1/status", 200},
	} {
		s := startServer(t, func(o *Options, _ *limits) { o.Doors.Listen = test.listen })
		_, port, _ := net.SplitHostPort(s.listen)
		if code, body, _ := ask(t, http.DefaultClient, "GET", "http://127.0.0.1:"+port+test.path, [2]string{"Host", test.host}); code != test.code {
			t.Errorf("%+v: %d %s", test, code, body)
		}
		http.DefaultClient.CloseIdleConnections()
	}
}

func TestNamesStayInertInJSON(t *testing.T) {
	s := startServer(t, nil)
	evil := "<script>alert(1)</script>\x1b[31m\u2028\x00\xff"
	s.node.status.Services[0].Name = evil
	_, body, _ := ask(t, s.overListen, "GET", s.url("/api/v1/status"))
	if strings.ContainsAny(body, "<>\x1b\x00\u2028") || !utf8.ValidString(body) {
		t.Errorf("the name is sent as it is: %q", body)
	}
	var got Status
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if want := strings.ToValidUTF8(evil, "\uFFFD"); got.Services[0].Name != want {
		t.Errorf("read back as %q, not %q", got.Services[0].Name, want)
	}
}

func TestChangeIsFinishedWhenTheClientGoesAway(t *testing.T) {
	s := startServer(t, nil)
	s.node.hold = make(chan struct{})
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /api/v1/drain?target=node HTTP/1.1\r\nHost: x\r\n\r\n")
	<-s.node.entered
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	// The server notices; the node is asked afterwards whether its context still stands.
	for s.open[doorSocket].listener.open.Load() > 1 {
		time.Sleep(time.Millisecond)
	}
	close(s.node.hold)
	closeServer(t, s)
	if calls := s.node.taken(); !reflect.DeepEqual(calls, []string{"drain node 0s false"}) {
		t.Errorf("the node did %v", calls)
	}
}

func TestFaultInTheNodeCostsOneRequest(t *testing.T) {
	s := startServer(t, nil)
	s.node.hold, s.node.entered = make(chan struct{}), make(chan struct{})
	close(s.node.entered) // the fake panics
	code, body, _ := ask(t, s.overSocket, "POST", "http://node/api/v1/drain?target=node")
	if code != 500 || !strings.Contains(body, `"error": "a fault in the node`) {
		t.Errorf("%d %s", code, body)
	}
	if code, body, _ := ask(t, s.overSocket, "GET", "http://node/metrics"); code != 200 || !strings.Contains(body, "sereno_admin_panics_total 1\n") {
		t.Errorf("%d %s", code, body)
	}
}

// raw sends bytes and reads what comes back until the server closes.
func raw(t *testing.T, address, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, text)
	answer, err := io.ReadAll(conn)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("the server did not close: %v", err)
	}
	return string(answer)
}

func TestGarbageIsAnsweredAndClosed(t *testing.T) {
	s := startServer(t, func(_ *Options, l *limits) { l.header = 300 * time.Millisecond })
	for _, text := range []string{
		"\x00\x01\x02\xff\r\n\r\n",
		"GET /healthz HTTP/9.9\r\n\r\n",
		"GET /healthz HTTP/1.1\r\n\r\n", // no Host
		"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: <script>\r\n\r\n",
		"POST /api/v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
		"POST /api/v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		strings.Repeat("A", 1<<20),
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // a TLS hello
	} {
		if answer := raw(t, s.listen, text); strings.Contains(answer, " 200 ") || strings.Contains(answer, "<script>") {
			t.Errorf("%.60q: %.200s", text, answer)
		}
	}
	if code, _, _ := ask(t, s.overListen, "GET", s.url("/healthz")); code != 200 || len(s.node.taken()) > 0 {
		t.Errorf("afterwards: %d", code)
	}
}

func TestO30GigabyteBodyIsCut(t *testing.T) {
	s := startServer(t, nil)
	for name, head := range map[string]string{
		"with a length, no token": "Content-Length: 1073741824\r\n",
		"with a length":           "Content-Length: 1073741824\r\nAuthorization: Bearer " + testToken + "\r\n",
		"in chunks":               "Transfer-Encoding: chunked\r\nAuthorization: Bearer " + testToken + "\r\n",
	} {
		conn, err := net.Dial("tcp", s.listen)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /api/v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", head)
		chunk := []byte("10000\r\n" + strings.Repeat("x", 0x10000) + "\r\n")
		sent := 0
		for sent < 1<<30 {
			if err := conn.SetWriteDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, err := conn.Write(chunk)
			sent += n
			if err != nil {
				break
			}
		}
		if sent > 64<<20 {
			t.Errorf("%s: %d bytes were taken", name, sent)
		}
		_ = conn.Close()
	}
	if calls := s.node.taken(); len(calls) > 0 {
		t.Errorf("the node was asked: %v", calls)
	}
}

func TestBodyIsRefused(t *testing.T) {
	s := startServer(t, nil)
	r, err := http.NewRequest("POST", s.url("/api/v1/drain"), strings.NewReader("target=node"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := s.overSocket.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if answer.StatusCode != 400 || !strings.Contains(string(body), "arguments are in the query") {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	// What curl -X POST -d '' sends.
	if code, _, _ := ask(t, s.overSocket, "POST", "http://node/api/v1/reload", [2]string{"Content-Length", "0"}); code != 200 {
		t.Errorf("an empty body: %d", code)
	}
}

func TestO30SlowClientsAreCut(t *testing.T) {
	s := startServer(t, func(_ *Options, l *limits) {
		l.header, l.read, l.idle = 100*time.Millisecond, 200*time.Millisecond, 100*time.Millisecond
	})
	for name, text := range map[string]string{
		"nothing":           "",
		"half a header":     "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
		"half a body":       "POST /api/v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + testToken + "\r\nTransfer-Encoding: chunked\r\n\r\n",
		"idle after asking": "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
	} {
		start := time.Now()
		raw(t, s.listen, text)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: held for %v", name, took)
		}
	}
}

func TestO30ConnectionsAreBounded(t *testing.T) {
	s := startServer(t, func(_ *Options, l *limits) { l.connections = 4 })
	var held []net.Conn
	for range 4 {
		conn, err := net.Dial("tcp", s.listen)
		if err != nil {
			t.Fatal(err)
		}
		// Wait until it is accepted: it has been answered.
		fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("%q, %v", line, err)
		}
		held = append(held, conn)
	}
	for range 10 {
		if answer := raw(t, s.listen, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); answer != "" {
			t.Fatalf("a fifth connection was served: %s", answer)
		}
	}
	if code, body, _ := ask(t, s.overSocket, "GET", "http://node/metrics"); code != 200 ||
		!strings.Contains(body, `sereno_admin_connections{door="listen"} 4`) || !strings.Contains(body, `sereno_admin_refused_total{reason="connections"} 10`) {
		t.Errorf("the socket does not serve, or does not tell: %d %s", code, body)
	}
	for _, conn := range held {
		_ = conn.Close()
	}
	for s.open[doorListen].listener.open.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	if code, _, _ := ask(t, s.overListen, "GET", s.url("/healthz")); code != 200 {
		t.Errorf("afterwards: %d", code)
	}
}
