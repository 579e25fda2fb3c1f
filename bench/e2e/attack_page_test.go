package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"sereno/bench/e2e/harness"
)

// evilPage tries what a page can try on a server that its visitor's browser reaches. %[1]s is the node.
const evilPage = `<!doctype html><title>kittens</title><body><script>
const node = "http://%[1]s";
const changes = %[2]s;
async function attack() {
  const got = {};
  const attempt = async (what, f) => { try { got[what] = await f(); } catch (e) { got[what] = "refused"; } };
  const read = async (r) => r.type === "opaque" ? "opaque" : await r.text();
  for (const path of changes) {
    await attempt("simple POST of " + path, async () => read(await fetch(node + path, {method: "POST", mode: "no-cors", body: "x"})));
    await attempt("form POST of " + path, async () => read(await fetch(node + path, {method: "POST", mode: "no-cors", headers: {"Content-Type": "application/x-www-form-urlencoded"}, body: "x=1"})));
    await attempt("POST with a header of " + path, async () => read(await fetch(node + path, {method: "POST", headers: {"Authorization": "Bearer x"}})));
    navigator.sendBeacon(node + path, "x");
    const frame = document.createElement("iframe"); frame.name = "f" + Math.random(); document.body.append(frame);
    const form = document.createElement("form"); form.method = "POST"; form.action = node + path; form.target = frame.name; document.body.append(form); form.submit();
  }
  for (const path of ["/api/v1/status", "/api/v1/availability", "/metrics", "/"]) {
    await attempt("GET of " + path, async () => read(await fetch(node + path)));
    await attempt("GET with credentials of " + path, async () => read(await fetch(node + path, {credentials: "include"})));
    const frame = document.createElement("iframe"); frame.src = node + path; document.body.append(frame);
    await new Promise((done) => { frame.onload = done; setTimeout(done, 2000); });
    await attempt("frame of " + path, async () => frame.contentDocument.body.innerText);
    await new Promise((done) => { const s = document.createElement("script"); s.src = node + path; s.onload = () => { got["script of " + path] = "ran"; done(); }; s.onerror = done; document.head.append(s); });
  }
  await attempt("events", () => new Promise((done, no) => { const e = new EventSource(node + "/api/v1/events"); e.onopen = () => done("open"); e.onerror = no; }));
  await attempt("WebSocket", () => new Promise((done, no) => { const w = new WebSocket(node.replace("http", "ws") + "/api/v1/events"); w.onopen = () => done("open"); w.onerror = no; }));
  return got;
}
async function rebound() {
  const got = {};
  const ask = async (what, path, options) => { try { const r = await fetch(path, options); got[what] = r.status + " " + await r.text(); } catch (e) { got[what] = "refused"; } };
  for (const path of ["/api/v1/status", "/api/v1/availability", "/metrics", "/api/v1/explain/dns?name=www.example.test"]) await ask("GET of " + path, path);
  for (const path of changes) await ask("POST of " + path, path, {method: "POST"});
  return got;
}
</script>`

// rebinding is a site of the attacker's, whose name first is his address and then the node's. For the browser it is
// one and the same site.
type rebinding struct {
	page   string
	to     netip.AddrPort
	rebind atomic.Bool
}

func (r *rebinding) serve(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			r.answer(c)
		}()
	}
}

// answer decides who answers only when a request has come: browsers open connections before they need them.
func (r *rebinding) answer(c net.Conn) {
	var read bytes.Buffer
	if _, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, &read))); err != nil {
		return
	}
	if !r.rebind.Load() {
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(r.page), r.page)
		return
	}
	node, err := net.Dial("tcp", r.to.String())
	if err != nil {
		return
	}
	defer node.Close()
	go func() { _, _ = io.Copy(node, io.MultiReader(&read, c)); _ = node.Close() }()
	_, _ = io.Copy(c, node)
}

// TestAttackerAnswersWhenAsked holds the attacker's site to what a browser does: a connection opened before the name
// became the node's, and used after, leads to the node, with every byte of the request.
func TestAttackerAnswersWhenAsked(t *testing.T) {
	asked := make(chan string, 1)
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked <- r.Method + " " + r.Host + " " + string(body)
	}))
	defer node.Close()
	attacker := &rebinding{page: "the page", to: netip.MustParseAddrPort(node.Listener.Addr().String())}
	browser, site := net.Pipe()
	_ = browser.SetDeadline(time.Now().Add(30 * time.Second)) // a page instead of the node reads no body
	done := make(chan struct{})
	go func() { defer close(done); defer site.Close(); attacker.answer(site) }()
	send := func(text string) { // it is read when this returns
		if _, err := io.WriteString(browser, text); err != nil {
			t.Fatal(err)
		}
	}
	send("POST /x HTTP/1.1\r\n")
	attacker.rebind.Store(true)
	send("Host: evil.example\r\nContent-Length: 4\r\n\r\n")
	send("body")
	if got := <-asked; got != "POST evil.example body" {
		t.Errorf("the node was asked %q", got)
	}
	_ = browser.Close()
	<-done
}

// TestE2EAttackO22Page has an operator's browser, a real one, visit a page that attacks the node which the browser can
// reach: by requests and forms across sites, by frames, scripts, event streams, and by a name that becomes the node's
// address (DNS rebinding). It learns nothing and changes nothing.
func TestE2EAttackO22Page(t *testing.T) {
	lab := harness.New(t)
	_, addrs := resolvers(t, lab, 1)
	s := lab.SerenoWith(strings.TrimPrefix(backendsYAML(netip.AddrPortFrom(lab.Addr(53), harness.DNSPort), "cache: {enabled: true}", addrs...), "pools:\n"))
	work := dnsLoad(t, s, 200)
	look := func() (f frozen) {
		code, body := askSocket(lab, "/api/v1/status")
		if err := json.Unmarshal(body, &f); err != nil || code != http.StatusOK {
			t.Fatalf("asking for the status: %d, %v", code, err)
		}
		return f
	}
	before := look()
	list, err := json.Marshal([]string{"/api/v1/reload", "/api/v1/drain?target=pool/resolvers/backend-1&force=true", "/api/v1/flush?service=resolver"})
	if err != nil {
		t.Fatal(err)
	}
	attacker := &rebinding{page: fmt.Sprintf(evilPage, s.HTTP, list), to: s.HTTP}
	listener, err := net.Listen("tcp", netip.AddrPortFrom(lab.Addr(hostAttacker), harness.HTTPPort).String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go attacker.serve(listener)
	browser := lab.Chromium(chromedp.Flag("host-resolver-rules", "MAP evil.example "+lab.Addr(hostAttacker).String()))
	tab := browser.Open(fmt.Sprintf("http://evil.example:%d/", harness.HTTPPort), desktop)
	got := map[string]string{}
	tab.Eval("attack()", &got)
	for what, text := range got {
		if text != "refused" && text != "opaque" {
			t.Errorf("across sites, %s: %.100q", what, text)
		}
	}
	t.Logf("across sites: %d attempts", len(got))
	attacker.rebind.Store(true)
	got = map[string]string{}
	tab.Eval("rebound()", &got)
	for what, text := range got {
		if !strings.HasPrefix(text, "403 ") || strings.Contains(text, "resolver") || strings.Contains(text, "sereno_") {
			t.Errorf("by a rebound name, %s: %.100q", what, text)
		}
	}
	t.Logf("by a rebound name: %d attempts", len(got))
	tab.Only("") // whatever the browser says of it
	tab.Close()
	after := look()
	if after.Config != before.Config || len(after.Drains) != 0 || after.Services[0].Cache.Entries < before.Services[0].Cache.Entries {
		t.Errorf("it was %+v and is %+v", before, after)
	}
	m := s.Metrics()
	if m.Sum("sereno_admin_refused_total", "reason", "origin") == 0 || m.Sum("sereno_admin_refused_total", "reason", "host") == 0 {
		t.Error("what was refused is not counted")
	}
	work.nothingLost("DNS beside a hostile page")
	s.WaitIdle()
}

// askSocket asks the API over the socket, as an operator does.
func askSocket(lab *harness.Lab, path string) (int, []byte) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(lab.Dir(), "admin.sock"))
	}}}
	reply, err := client.Get("http://localhost" + path)
	if err != nil {
		return 0, nil
	}
	defer reply.Body.Close()
	body, _ := io.ReadAll(reply.Body) // what is cut does not parse
	return reply.StatusCode, body
}
