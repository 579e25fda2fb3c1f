package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/scrape"
)

// apiNode is a node under traffic whose API is attacked.
type apiNode struct {
	*reloadSite
	t      *testing.T
	listen string
	before frozen
	memory float64
}

// frozen is what no attack may change.
type frozen struct {
	Config scrape.LoadedConfig `json:"config"`
	Drains []struct {
		Target string `json:"target"`
	} `json:"drains"`
	Services []struct {
		Cache struct {
			Entries int `json:"entries"`
		} `json:"cache"`
	} `json:"services"`
}

// TestE2EO22APIUnderAttack turns everything on a real node's API that a stranger can: no token, a wrong one, pages of
// other origins, rebound names, bodies of a gigabyte, garbage, slow clients by the hundred. Nothing changes that should
// not, nothing grows, whoever may ask is answered, and no query is lost meanwhile.
func TestE2EO22APIUnderAttack(t *testing.T) {
	lab := harness.New(t)
	a := &apiNode{reloadSite: newReloadSite(t, lab), t: t}
	a.listen = a.s.HTTP.String()
	queries := reloadDNSLoad(t, a.s)
	queries.sent(lab, 5000)
	a.before, a.memory = a.frozen(), a.s.Metrics().Sum("process_resident_memory_bytes")
	files := a.files()

	t.Run("without the token", a.withoutToken)
	t.Run("from other pages", a.fromOtherPages)
	t.Run("large bodies", a.largeBodies)
	t.Run("garbage", a.garbage)
	t.Run("slow clients", a.slowClients)
	t.Run("with the token", a.withToken)

	if m := a.s.Metrics(); m.Sum("sereno_admin_panics_total") != 0 || m.Sum("sereno_panics_total") != 0 {
		t.Error("something panicked")
	}
	a.flat("at the end")
	lab.Eventually(15*time.Second, "the files of the attackers are closed", func() bool { return a.files() < files+40 })
	queries.nothingLost("DNS while the API is attacked")
	a.s.WaitIdle()
}

// changes are all requests that change something.
var changes = []string{
	"/api/v1/drain?target=anycast/dns-vip&force=true", "/api/v1/undrain?target=anycast/dns-vip", "/api/v1/reload", "/api/v1/reload?allow_empty=true",
	"/api/v1/flush?service=resolver", "/api/v1/forget?service=pppoe",
}

func (a *apiNode) frozen() (f frozen) {
	a.t.Helper()
	code, body := a.ask(a.t, http.MethodGet, "/api/v1/status")
	if err := json.Unmarshal(body, &f); err != nil || code != http.StatusOK {
		a.t.Fatalf("asking for the status: %d, %v", code, err)
	}
	return f
}

// unchanged demands that an attack changed nothing.
func (a *apiNode) unchanged(what string) {
	a.t.Helper()
	now := a.frozen()
	if now.Config != a.before.Config || len(now.Drains) != len(a.before.Drains) || now.Services[0].Cache.Entries < a.before.Services[0].Cache.Entries {
		a.t.Errorf("%s: it was %+v and is %+v", what, a.before, now)
	}
}

// flat demands that the node has not grown by more than its cache may.
func (a *apiNode) flat(what string) {
	a.t.Helper()
	now := a.s.Metrics().Sum("process_resident_memory_bytes")
	a.t.Logf("%s: %.0f MiB of memory, %.0f before", what, now/(1<<20), a.memory/(1<<20))
	if now > a.memory+96<<20 {
		a.t.Errorf("%s: it grew from %.0f to %.0f MiB", what, a.memory/(1<<20), now/(1<<20))
	}
}

// files is how many files the node has open.
func (a *apiNode) files() int { return int(a.s.Metrics().Sum("process_open_fds")) }

// try sends one request over TCP.
func (a *apiNode) try(method, path string, with func(*http.Request)) (int, string) {
	a.t.Helper()
	request, err := http.NewRequestWithContext(a.t.Context(), method, "http://"+a.listen+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if with != nil {
		with(request)
	}
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Do(request)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	body, err := io.ReadAll(io.LimitReader(reply.Body, 1<<20))
	if err := errors.Join(err, reply.Body.Close()); err != nil {
		a.t.Fatal(err)
	}
	return reply.StatusCode, string(body)
}

func (a *apiNode) withoutToken(t *testing.T) {
	for _, path := range changes {
		for what, set := range map[string]func(*http.Request){
			"no token":           nil,
			"a wrong token":      func(r *http.Request) { r.Header.Set("Authorization", "Bearer token-number-1") },
			"an empty one":       func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") },
			"the beginning":      func(r *http.Request) { r.Header.Set("Authorization", "Bearer token-number-") },
			"another scheme":     func(r *http.Request) { r.SetBasicAuth("admin", "token-number-0") },
			"in a cookie":        func(r *http.Request) { r.Header.Set("Cookie", "token=token-number-0") },
			"in the query":       func(r *http.Request) { r.URL.RawQuery += "&token=token-number-0" },
			"a forwarded header": func(r *http.Request) { r.Header.Set("X-Forwarded-For", "127.0.0.1") },
			"64 KiB of token":    func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 8<<10)) },
		} {
			if code, body := a.try(http.MethodPost, path, set); code != http.StatusForbidden && code != http.StatusUnauthorized {
				t.Errorf("POST %s with %s: %d %s", path, what, code, body)
			}
		}
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPatch} {
			if code, _ := a.try(method, path, a.token); code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, code)
			}
		}
	}
	a.unchanged("without the token")
}

// token shows the right one.
func (a *apiNode) token(r *http.Request) { r.Header.Set("Authorization", "Bearer token-number-0") }

func (a *apiNode) fromOtherPages(t *testing.T) {
	for what, set := range map[string]func(*http.Request){
		"another origin":   func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"a sandbox":        func(r *http.Request) { r.Header.Set("Origin", "null") },
		"the other scheme": func(r *http.Request) { r.Header.Set("Origin", "http://"+a.s.HTTP.Addr().String()+":80") },
		"a rebound name":   func(r *http.Request) { r.Host = "evil.example:8053" },
		"a rebound name and its own origin": func(r *http.Request) {
			r.Host = "evil.example:8053"
			r.Header.Set("Origin", "http://evil.example:8053")
		},
		"a name below ours": func(r *http.Request) { r.Host = "localhost.evil.example" },
	} {
		for _, path := range []string{"/api/v1/status", "/api/v1/availability", "/metrics", "/healthz"} {
			if code, _ := a.try(http.MethodGet, path, set); code != http.StatusForbidden {
				t.Errorf("GET %s from %s: %d", path, what, code)
			}
		}
		for _, path := range changes {
			both := func(r *http.Request) { a.token(r); set(r) }
			if code, _ := a.try(http.MethodPost, path, both); code != http.StatusForbidden {
				t.Errorf("POST %s from %s, with the token: %d", path, what, code)
			}
		}
	}
	for _, path := range changes {
		cross := func(r *http.Request) { a.token(r); r.Header.Set("Sec-Fetch-Site", "cross-site") }
		if code, _ := a.try(http.MethodPost, path, cross); code != http.StatusForbidden {
			t.Errorf("POST %s across sites: %d", path, code)
		}
	}
	own := func(r *http.Request) {
		r.Header.Set("Origin", "http://"+a.listen)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if code, _ := a.try(http.MethodGet, "/api/v1/status", own); code != http.StatusOK {
		t.Errorf("from the node's own page: %d", code)
	}
	a.unchanged("from other pages")
}

// largeBodies sends a gigabyte, or as much of it as the node takes.
func (a *apiNode) largeBodies(t *testing.T) {
	megabyte := bytes.Repeat([]byte("x"), 1<<20)
	for _, head := range []string{"Content-Length: 1073741824\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: 1073741824\r\nExpect: 100-continue\r\n"} {
		for _, path := range []string{"/api/v1/reload", "/api/v1/drain?target=anycast/dns-vip", "/api/v1/status"} {
			conn, err := net.Dial("tcp", a.listen)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer token-number-0\r\n%s\r\n", path, a.listen, head)
			sent := 0
			for range 1024 {
				block := megabyte
				if strings.Contains(head, "chunked") {
					block = append([]byte("100000\r\n"), append(megabyte[:len(megabyte):len(megabyte)], "\r\n"...)...)
				}
				n, err := conn.Write(block)
				if sent += n; err != nil {
					break
				}
			}
			if sent > 64<<20 {
				t.Errorf("%s, %s: it took %d MiB", path, strings.TrimSpace(head), sent>>20)
			}
			if reply, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil && reply.StatusCode < 400 {
				t.Errorf("%s, %s: %s", path, strings.TrimSpace(head), reply.Status)
			}
			_ = conn.Close()
		}
	}
	a.unchanged("large bodies")
	a.flat("large bodies")
}

// garbage is what is not HTTP, or no HTTP that anybody means well.
func (a *apiNode) garbage(t *testing.T) {
	noise := make([]byte, 64<<10)
	_, _ = rand.Read(noise)
	long := strings.Repeat("x", 1<<20)
	host := "Host: " + a.listen + "\r\n"
	for what, text := range map[string]string{
		"noise":              string(noise),
		"TLS":                "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + string(noise[:512]),
		"HTTP/2":             "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + string(noise[:64]),
		"a long path":        "GET /" + long + " HTTP/1.1\r\n" + host + "\r\n",
		"a long header":      "GET /api/v1/status HTTP/1.1\r\n" + host + "X: " + long + "\r\n\r\n",
		"many headers":       "GET /api/v1/status HTTP/1.1\r\n" + host + strings.Repeat("X: y\r\n", 50_000) + "\r\n",
		"two hosts":          "GET /api/v1/status HTTP/1.1\r\n" + host + "Host: evil.example\r\n\r\n",
		"no host":            "GET /api/v1/status HTTP/1.1\r\n\r\n",
		"two lengths":        "POST /api/v1/reload HTTP/1.1\r\n" + host + "Authorization: Bearer token-number-0\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
		"length and chunks":  "POST /api/v1/reload HTTP/1.1\r\n" + host + "Authorization: Bearer token-number-0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"CONNECT":            "CONNECT 127.0.0.1:22 HTTP/1.1\r\n" + host + "\r\n",
		"TRACE":              "TRACE / HTTP/1.1\r\n" + host + "\r\n",
		"a path outside":     "GET /../../../../etc/passwd HTTP/1.1\r\n" + host + "\r\n",
		"an encoded one":     "GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n" + host + "\r\n",
		"a proxy's request":  "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"a null in the path": "GET /api/v1/\x00status HTTP/1.1\r\n" + host + "\r\n",
		"a huge argument":    "GET /api/v1/explain/dns?name=" + long[:12<<10] + " HTTP/1.1\r\n" + host + "\r\n",
		"a bad escape":       "GET /api/v1/explain/dns?name=%zz HTTP/1.1\r\n" + host + "\r\n",
		"nothing":            "",
	} {
		conn, err := net.Dial("tcp", a.listen)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(8 * time.Second))
		_, _ = io.WriteString(conn, text)
		_ = conn.(*net.TCPConn).CloseWrite()
		reply, _ := io.ReadAll(io.LimitReader(conn, 1<<20))
		if bytes.HasPrefix(reply, []byte("HTTP/1.1 2")) {
			t.Errorf("%s: %.80s", what, reply)
		}
		if bytes.Contains(reply, []byte("root:")) {
			t.Fatalf("%s: it gave a file away", what)
		}
		_ = conn.Close()
	}
	a.unchanged("garbage")
}

// slowClients take every connection that there is, and do nothing with it: a byte of a header, half a request, an answer
// that nobody reads, an event stream that nobody reads.
func (a *apiNode) slowClients(t *testing.T) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	host := "Host: " + a.listen + "\r\n"
	for i := range 400 {
		conn, err := net.Dial("tcp", a.listen)
		if err != nil {
			continue
		}
		conns = append(conns, conn)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetReadBuffer(4096)
		}
		_ = conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
		_, _ = io.WriteString(conn, []string{
			"G", "GET /api/v1/status HTTP/1.1\r\nX: ", "GET /metrics HTTP/1.1\r\n" + host + "\r\n" + strings.Repeat("GET /metrics HTTP/1.1\r\n"+host+"\r\n", 20),
			"GET /api/v1/events HTTP/1.1\r\n" + host + "\r\n",
		}[i%4])
	}
	// Over the socket an operator is served all the while, and the doors have their bounds.
	for range 20 {
		began := time.Now()
		a.unchanged("slow clients")
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("an operator waited %s", took)
		}
		if n := a.metric(t, `sereno_admin_connections{door="listen"}`); n > 128 {
			t.Errorf("%g connections", n)
		}
		if n := a.metric(t, "sereno_admin_event_subscribers"); n > 32 {
			t.Errorf("%g subscribers", n)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if n := a.metric(t, `sereno_admin_refused_total{reason="connections"}`); n < 200 {
		t.Errorf("%g connections were turned away", n)
	}
	// Those that sent no whole request are closed by themselves, and others come in.
	a.lab.Eventually(20*time.Second, "there is room over TCP again", func() bool {
		client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		reply, err := client.Get("http://" + a.listen + "/healthz")
		return err == nil && reply.Body.Close() == nil && reply.StatusCode == http.StatusOK
	})
	for _, c := range conns {
		_ = c.Close()
	}
	a.lab.Eventually(20*time.Second, "the slow clients are forgotten", func() bool { return a.metric(t, `sereno_admin_connections{door="listen"}`) < 5 })
	a.flat("slow clients")
}

// metric reads one sample over the socket.
func (a *apiNode) metric(t *testing.T, name string) float64 {
	t.Helper()
	_, body := a.ask(t, http.MethodGet, "/metrics")
	_, rest, ok := strings.Cut("\n"+string(body), "\n"+name+" ")
	if !ok {
		return 0
	}
	text, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// withToken shows that what was refused is what the token allows, and nothing more.
func (a *apiNode) withToken(t *testing.T) {
	if code, body := a.try(http.MethodPost, "/api/v1/drain?target=pool/resolvers/second", a.token); code != http.StatusOK {
		t.Errorf("draining with the token: %d %s", code, body)
	}
	if f := a.frozen(); len(f.Drains) != 1 {
		t.Errorf("drains: %+v", f.Drains)
	}
	if code, body := a.try(http.MethodPost, "/api/v1/undrain?target=pool/resolvers/second", a.token); code != http.StatusOK {
		t.Errorf("undraining with the token: %d %s", code, body)
	}
	if code, body := a.try(http.MethodPost, "/api/v1/drain?target=pool/resolvers/second&for=-5m", a.token); code != http.StatusBadRequest {
		t.Errorf("draining for a negative time: %d %s", code, body)
	}
	if code, body := a.try(http.MethodPost, "/api/v1/flush?service=resolver&nam=x", a.token); code != http.StatusBadRequest {
		t.Errorf("a misspelt argument: %d %s", code, body)
	}
	a.unchanged("with the token")
	info, err := os.Stat(filepath.Join(a.lab.Dir(), "admin.sock"))
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	if addr, err := netip.ParseAddrPort(a.listen); err != nil || !addr.Addr().IsLoopback() {
		t.Fatal("the test is about a node that listens on loopback")
	}
}
