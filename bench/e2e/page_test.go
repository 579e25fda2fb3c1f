package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"sereno/bench/e2e/harness"
	"sereno/bench/load"
	"sereno/bench/stub"
)

// stand is a node with two resolvers (a real one and a simulated one), two simulated RADIUS servers, a real router,
// traffic, and a browser.
type stand struct {
	*harness.Sereno
	lab      *harness.Lab
	unbound  *harness.Unbound
	resolver *stub.Resolver
	servers  [2]*stub.RADIUS
	browser  *harness.Browser
	page     string
}

func newStand(t *testing.T) *stand {
	t.Helper()
	lab := harness.New(t)
	s := &stand{lab: lab, unbound: lab.Unbound(1)}
	router := lab.BIRD(false)
	var err error
	if s.resolver, err = stub.NewResolver(stub.ResolverConfig{Addr: netip.AddrPortFrom(lab.Addr(12), 5302)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.resolver.Close() })
	books := stub.NewBooks()
	for i := range s.servers {
		a := lab.Addr(byte(21 + i))
		s.servers[i], err = stub.NewRADIUS(stub.RADIUSConfig{
			Name: fmt.Sprint("radius-", i+1), Auth: netip.AddrPortFrom(a, 1812), Acct: netip.AddrPortFrom(a, 1813),
			Secret: []byte(harness.BackendSecret), Demand: true, Books: books,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.servers[i].Close() })
	}
	at := lab.Prepare(harness.Config{}) // for its addresses
	s.Sereno = lab.SerenoWith(fmt.Sprintf(`  - name: resolvers
    protocol: dns
    health: {interval: 500ms, timeout: 250ms, slow_start: 1s}
    backends: [{name: dns-1, address: "%s"}, {name: dns-2, address: "%s"}]
  - name: servers
    protocol: radius
    health: {interval: 1s, timeout: 700ms, slow_start: 1s}
    backends: [{name: radius-1, address: %s, secret: %s}, {name: radius-2, address: %s, secret: %s}]
dns: [{name: resolver, listen: ["%s"], pool: resolvers}]
radius:
  - {name: pppoe, auth: ["%s"], acct: ["%s"], pool: servers, clients: [{name: nas, address: 127.0.0.1, secret: %s}]}
bgp: {asn: %d, router_id: 10.255.0.1, neighbors: [{name: core-1, address: %s, asn: %d, port: %d, source: %s, connect_retry: 1s}]}
anycast:
  - {name: dns-vip, prefixes: [%s], requires: [resolver], announce_after: 1s, drain_time: 1s}
  - {name: radius-vip, prefixes: [%s], requires: [pppoe], announce_after: 1s, drain_time: 1s}
`, s.unbound.Addr, s.resolver.Addr(), lab.Addr(21), harness.BackendSecret, lab.Addr(22), harness.BackendSecret, at.DNS, at.Auth, at.Acct, harness.NASSecret,
		harness.NodeASN, router.Addr, harness.RouterASN, harness.BGPPort, lab.Addr(1), harness.DNSPrefix, harness.RADIUSPrefix))
	s.page = "http://" + s.HTTP.String() + "/"
	dnsLoad(t, s.Sereno, 200)
	r, err := load.NewRADIUS(load.RADIUSConfig{
		Common: load.Common{Rate: 50, Timeout: 4 * time.Second}, Targets: []load.RADIUSTarget{{Auth: s.Auth, Acct: s.Acct}},
		Secret: []byte(harness.NASSecret), PAP: 2, CHAP: 1, Acct: 2, NAS: "bras-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, r.Run, r.Books, r.Use)
	s.browser = lab.Chromium()
	return s
}

var (
	desktop = harness.View{Width: 1360, Height: 900}
	phone   = harness.View{Width: 375, Height: 812, Phone: true}
)

// dark is a view with the other scheme of colours.
func dark(v harness.View) harness.View {
	v.Dark = true
	return v
}

// TestE2EO21Page looks at the web page with a real browser while backends die and come back.
func TestE2EO21Page(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *stand)
	}{
		{"shows everything, and asks nobody else", pageShows},
		{"a backend dies and comes back before one's eyes", pageOutage},
		{"O12 a drain is shown until it ends", pageDrain},
		{"on a phone nothing is cut off, in the dark all is legible", pagePhoneAndDark},
		{"works with the keyboard", pageKeyboard},
		{"names stay text", pageNames},
		{"a day does not make it grow", pageDay},
		{"says when the node is gone, and comes back with it", pageLost},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, s) })
	}
}

// calm waits until the page says that everything serves, with its charts drawn.
func (s *stand) calm(tab *harness.Tab) {
	tab.Until(30*time.Second, "everything serves", `document.querySelector("#headline").textContent === "Everything serves."`)
	tab.Until(20*time.Second, "charts", `document.querySelectorAll(".chart[data-points]").length >= 8 && Number(document.querySelector(".chart[data-points]").dataset.points) > 2`)
	tab.Until(20*time.Second, "the books", `document.querySelectorAll("#availability .book").length === 2 && document.querySelectorAll(".strip rect").length > 4`)
}

func pageShows(t *testing.T, s *stand) {
	tab := s.browser.Open(s.page, desktop)
	defer tab.Close()
	s.calm(tab)
	for selector, words := range map[string][]string{
		"header":          {"UP", "lab", "live"},
		"#service-list":   {"resolver", "DNS", "pppoe", "RADIUS", "requests/s", "cache hits", "sessions", "spool", "latency p50", "latency p99"},
		"#pool-list":      {"resolvers", "dns-1", "dns-2", "radius-1", "2 of 2 healthy, needs 1"},
		"#anycast-list":   {"dns-vip", harness.DNSPrefix, "announced"},
		"#neighbor-list":  {"core-1", "established", "AS64500"},
		"#chart-list":     {"resolver: requests a second", "resolver: latency", "p99", "cache hits", "pppoe: logins a second", "resolvers: healthy backends"},
		"#availability":   {"target 99.99 %", "Error budget of 30 days", "365d", "No outage in the last 30 days."},
		"#event-list":     {"dns-vip", "→ announced"},
		"#config, footer": {"sereno.yaml", "Metrics"},
	} {
		got := tab.Text(selector)
		for _, w := range words {
			if !strings.Contains(got, w) {
				t.Errorf("%s does not say %q:\n%s", selector, w, got)
			}
		}
	}
	tab.Until(10*time.Second, "rates of real traffic", `Number(document.querySelector("#service-list dd").textContent) > 100`)
	tab.Shot("light", "#now", "#charts", "#availability")
	// A fresh page shows the past: more points than it has lived seconds for.
	tab.Do(chromedp.Reload())
	s.calm(tab)
	var points int
	tab.Eval(`Number(document.querySelector(".chart[data-points]").dataset.points)`, &points)
	if points < 3 {
		t.Errorf("a page that was opened anew shows %d points", points)
	}
	// Another span of time.
	tab.Do(chromedp.Click(`input[value="1h"] + span`))
	tab.Until(10*time.Second, "the last hour", `document.querySelector("input[value='1h']").checked && [...document.querySelectorAll(".chart[data-points]")].every((n) => Number(n.dataset.points) < 40)`)
	s.CheckBalance()
}

func pageOutage(t *testing.T, s *stand) {
	tab := s.browser.Open(s.page, desktop)
	defer tab.Close()
	s.calm(tab)
	s.unbound.Kill()
	killed := time.Now()
	tab.Until(10*time.Second, "the page says that dns-1 is down", `document.querySelector("#troubles").innerText.includes("Backend resolvers/dns-1 (dns) is down")`)
	t.Logf("dns-1 was killed; the page said so after %s", time.Since(killed).Round(10*time.Millisecond))
	tab.Until(5*time.Second, "one thing needs a look", `/need.* a look/.test(document.querySelector("#headline").textContent)`)
	if err := s.resolver.Set(stub.Mode{Fault: stub.Closed}); err != nil {
		t.Fatal(err)
	}
	tab.Until(10*time.Second, "the page says that the service is down", `/^Service resolver is down/.test(document.querySelector("#headline").textContent)`)
	tab.Until(10*time.Second, "and that the route is withdrawn", `document.querySelector("#anycast-list").innerText.includes("withdrawn")`)
	tab.Until(10*time.Second, "and the time since", `/^since \d/.test(document.querySelector("#headline-since").textContent)`)
	tab.Until(10*time.Second, "in the title and the icon", `document.title.startsWith("DEGRADED") && document.querySelector("#icon").href.endsWith("icon-bad.svg")`)
	tab.Until(10*time.Second, "in the strips", `document.querySelectorAll("#pool-list rect.s-down").length === 2`)
	tab.Until(20*time.Second, "in the list of outages", `document.querySelectorAll(".outages li").length === 1`)
	tab.Shot("outage-light", "#now", "#charts", "#availability", "#events")
	d := s.browser.Open(s.page, dark(desktop))
	d.Until(20*time.Second, "the books", `document.querySelectorAll(".outages li").length === 1 && document.querySelectorAll("#pool-list rect.s-down").length === 2`)
	d.Until(10*time.Second, "charts", `Number(document.querySelector(".chart[data-points]")?.dataset.points) > 2`)
	d.Shot("outage-dark", "#now", "#charts", "#availability")
	d.Close()
	p := s.browser.Open(s.page, phone)
	p.Until(20*time.Second, "the books", `document.querySelectorAll(".outages li").length === 1 && Number(document.querySelector(".chart[data-points]")?.dataset.points) > 2`)
	p.Shot("outage-phone", "#now", "#services", "#pools", "#routes", "#charts", "#availability", "#events")
	p.Close()

	s.unbound.Start()
	if err := s.resolver.Set(stub.Mode{}); err != nil {
		t.Fatal(err)
	}
	tab.Until(20*time.Second, "everything serves again", `document.querySelector("#headline").textContent === "Everything serves." && document.querySelector("#icon").href.endsWith("icon-up.svg")`)
	tab.Until(10*time.Second, "the events tell it", `["dns-1", "down → up", "withdrawn → announced"].every((w) => document.querySelector("#event-list").innerText.includes(w))`)
	tab.Until(20*time.Second, "the budget is used", `document.querySelectorAll(".outages li").length === 1 && !document.querySelector(".outages li").innerText.includes("not over")`)
}

// pageDrain drains a backend for half an hour and takes the drain back.
func pageDrain(t *testing.T, s *stand) {
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) {
		t.Helper()
		if out, code := s.lab.Output("", binary, append(args, "--socket", filepath.Join(s.lab.Dir(), "admin.sock"))...); code != 0 {
			t.Fatalf("%v: %d %s", args, code, out)
		}
	}
	tab := s.browser.Open(s.page, desktop)
	defer tab.Close()
	s.calm(tab)
	command("drain", "pool/resolvers/dns-2", "--for", "30m")
	tab.Until(10*time.Second, "the state of the backend and why", `[...document.querySelectorAll("#pool-list tbody tr")].some((n) => ["dns-2", "drained", "drained by an operator"].every((w) => n.innerText.includes(w)))`)
	tab.Until(10*time.Second, "the drain and what takes it back", `["Drained: pool/resolvers/dns-2", "sereno undrain pool/resolvers/dns-2"].every((w) => document.querySelector("#troubles").innerText.includes(w))`)
	tab.Until(10*time.Second, "the event", `document.querySelector("#event-list").innerText.includes("pool/resolvers/dns-2")`)
	var end struct {
		Minutes float64
		Clock   string
	}
	tab.Eval(`fetch("/api/v1/status").then((r) => r.json()).then((s) => { const d = s.drains[0]; const t = new Date(d.until);
		return { Minutes: (t - new Date(d.since)) / 60e3, Clock: [t.getHours(), t.getMinutes(), t.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":") } })`, &end)
	told := tab.Text("#troubles")
	if end.Minutes != 30 || !strings.Contains(told, "ends by itself at ") || !strings.Contains(told, end.Clock) {
		t.Errorf("the drain is of %v minutes, until %s; the page says %q", end.Minutes, end.Clock, told)
	}
	var headline string
	tab.Eval(`document.querySelector("#headline").textContent`, &headline)
	if headline == "Everything serves." {
		t.Error("the headline does not know of it")
	}
	command("undrain", "pool/resolvers/dns-2")
	tab.Until(10*time.Second, "nothing is drained any more", `!document.querySelector("#troubles").innerText.includes("rained") && !document.querySelector("#pool-list").innerText.includes("drained")`)
	s.calm(tab)
}

func pagePhoneAndDark(t *testing.T, s *stand) {
	tab := s.browser.Open(s.page, dark(phone))
	defer tab.Close()
	s.calm(tab)
	var wide []string
	tab.Eval(`[...document.querySelectorAll("main *, footer *, header *")].filter((n) => n.checkVisibility() && !n.closest("nav, .unseen, thead, .plot, svg") && n.getBoundingClientRect().right > innerWidth + 1)
		.map((n) => n.tagName + "." + n.className + " " + n.textContent.slice(0, 40))`, &wide)
	var scrolls bool
	tab.Eval(`document.documentElement.scrollWidth > innerWidth`, &scrolls)
	if len(wide) > 0 || scrolls {
		t.Errorf("wider than a phone: %v, scrolls: %v", wide, scrolls)
	}
	// Contrast of every text with what is behind it (WCAG 2.2, 1.4.3: 4.5 to 1).
	var faint []string
	tab.Eval(faintTexts, &faint)
	if len(faint) > 0 {
		t.Errorf("in the dark these are hard to read: %q", faint)
	}
	light := s.browser.Open(s.page, desktop)
	s.calm(light)
	light.Eval(faintTexts, &faint)
	if len(faint) > 0 {
		t.Errorf("in the light these are hard to read: %q", faint)
	}
	light.Close()
	tab.Shot("phone-dark", "#now", "#charts")
}

// faintTexts gives the texts whose contrast is too low.
const faintTexts = `(() => {
	const parse = (c) => (c.match(/[\d.]+/g) ?? []).map(Number);
	const lum = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const behind = (n) => { for (; n; n = n.parentElement) { const c = parse(getComputedStyle(n).backgroundColor); if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
	const out = new Set();
	for (const n of document.querySelectorAll("body *")) {
		if (!n.checkVisibility() || ![...n.childNodes].some((c) => c.nodeType === 3 && c.data.trim())) continue;
		const [a, b] = [lum(parse(getComputedStyle(n).color)), lum(behind(n))].sort((x, y) => y - x);
		const ratio = (a + 0.05) / (b + 0.05);
		if (ratio < 4.5) out.add(n.textContent.trim().slice(0, 30) + " " + ratio.toFixed(2));
	}
	return [...out];
})()`

func pageKeyboard(t *testing.T, s *stand) {
	tab := s.browser.Open(s.page, desktop)
	defer tab.Close()
	s.calm(tab)
	tab.Press(kb.Tab)
	tab.Until(5*time.Second, "the first stop leads past the header", `document.activeElement.className === "skip" && document.activeElement.checkVisibility()`)
	tab.Press(kb.Enter)
	tab.Until(5*time.Second, "and it does", `location.hash === "#now"`)
	// Every stop is seen, and none is a trap.
	stops := map[string]bool{}
	for range 60 {
		tab.Press(kb.Tab)
		var at string
		tab.Eval(`(() => { const n = document.activeElement; const s = getComputedStyle(n.matches("input") ? n.nextElementSibling : n);
			return (s.outlineStyle === "none" || s.outlineWidth === "0px" ? "UNSEEN " : "") + (n === document.body ? "END" : n.tagName + " " + (n.getAttribute("aria-label") ?? n.textContent ?? "").slice(0, 40) + (n.value ?? "")); })()`, &at)
		if strings.HasPrefix(at, "UNSEEN") && !strings.HasSuffix(at, "END") {
			t.Errorf("focus on %q is not seen", at)
		}
		if strings.HasSuffix(at, "END") {
			break
		}
		stops[at] = true
	}
	if len(stops) < 20 {
		t.Errorf("only %d stops: %v", len(stops), stops)
	}
	tab.Eval(`document.querySelector("#pool-list .strip").focus()`, nil)
	tab.Press(kb.ArrowLeft)
	tab.Until(5*time.Second, "a strip tells its last span", `/now \(.*\) up/.test(document.activeElement.querySelector(".told").textContent)`)
	tab.Press(kb.ArrowLeft)
	tab.Until(5*time.Second, "and the one before", `/probes fail|port is closed|not answered/.test(document.activeElement.querySelector(".told").textContent) || document.activeElement.querySelector(".told").textContent.includes("suspect")`)
	tab.Eval(`document.querySelector("#chart-list .chart").focus()`, nil)
	tab.Press(kb.ArrowLeft, kb.ArrowLeft)
	tab.Until(5*time.Second, "a chart tells values of a moment", `/\d\d:\d\d:\d\d/.test(document.activeElement.querySelector(".when").textContent)`)
	tab.Eval(`document.querySelector("input[value='10m']").focus()`, nil)
	tab.Press(kb.ArrowRight)
	tab.Until(5*time.Second, "the span changes by key", `document.querySelector("input[value='1h']").checked`)
	tab.Eval(`document.querySelector("summary").focus()`, nil)
	tab.Press(kb.Enter)
	tab.Until(5*time.Second, "the backends' books open", `document.querySelector("details").open && document.querySelector("details table").innerText.includes("radius-2")`)
}

// pageNames puts a proxy before the node that gives things names which are markup (the node itself takes no such name),
// and that raises one alarm about two services.
func pageNames(t *testing.T, s *stand) {
	target, err := url.Parse(s.page)
	if err != nil {
		t.Fatal(err)
	}
	evil := strings.NewReplacer(
		`"dns-1"`, `"<script>window.owned=1</script>"`, `"resolvers/dns-1 (dns)"`, `"<img src=x onerror=window.owned=2>"`,
		`"pppoe"`, `"<svg onload=window.owned=3>"`, `"core-1"`, `"<b>core</b>"`, `"dns-vip"`, `"javascript:window.owned=4"`, `"lab"`, `"</title><script>window.owned=5</script>"`,
		`"alarms":[]`, `"alarms":[{"name":"spool-full","subject":"adsl","since":null,"text":"is full"},{"name":"spool-full","subject":"<i>ftth</i>","since":null,"text":"is full"}]`,
	)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del("Accept-Encoding")
			r.Out.Header.Del("Origin")
		},
		FlushInterval: -1,
		ModifyResponse: func(r *http.Response) error {
			kind := r.Header.Get("Content-Type")
			if kind != "application/json" && kind != "text/event-stream" {
				return nil
			}
			r.Header.Del("Content-Length")
			body := r.Body
			in, out := io.Pipe()
			r.Body = in
			go func() {
				defer body.Close()
				lines := bufio.NewScanner(body)
				lines.Buffer(nil, 4<<20)
				for lines.Scan() {
					if _, err := io.WriteString(out, evil.Replace(lines.Text())+"\n"); err != nil {
						return
					}
				}
				out.Close()
			}()
			return nil
		},
	}
	server := httptest.NewServer(proxy)
	defer server.Close()
	defer server.CloseClientConnections()
	tab := s.browser.Open(server.URL+"/", desktop)
	defer tab.Close()
	tab.Until(30*time.Second, "the page with such names", `document.querySelector("#pool-list").innerText.includes("<script>window.owned=1</script>") && document.querySelectorAll("#availability .book").length === 2 && document.querySelectorAll(".chart[data-points]").length > 5`)
	for selector, words := range map[string]string{
		"#service-list": "<svg onload=window.owned=3>", "#neighbor-list": "<b>core</b>", "#anycast-list": "javascript:window.owned=4",
		"#event-list": "<img src=x onerror=window.owned=2>", "#node-name": "</title><script>window.owned=5</script>", "#chart-list": "<script>window.owned=1</script>",
		"#troubles": "adsl: is full", "#now": "<i>ftth</i>: is full",
	} {
		if got := tab.Text(selector); !strings.Contains(got, words) {
			t.Errorf("%s does not show %q:\n%.500s", selector, words, got)
		}
	}
	var owned bool
	tab.Eval(`"owned" in window || document.querySelector("main script, main img, main b b, main a[href^=javascript]") !== null`, &owned)
	if owned {
		t.Error("a name became markup")
	}
	tab.Only()
	// The policy holds even against a mistake of ours.
	tab.Eval(`(() => { try { document.body.innerHTML += "<i>x</i>"; return true } catch { return false } })()`, &owned)
	if owned {
		t.Error("the browser lets texts become markup")
	}
	tab.Only("TrustedHTML") // the browser reports what was just tried
}

// pageDay gives the page what comes in a day, and counts what it keeps.
func pageDay(t *testing.T, s *stand) {
	v := desktop
	v.Before = `window.EventSource = class extends EventSource { constructor(u) { super(u); window.stream = this } }`
	tab := s.browser.Open(s.page, v)
	defer tab.Close()
	s.calm(tab)
	tab.Only()
	type size struct{ Nodes, Numbers, Heap int }
	measure := func(hours int) (out size) {
		tab.Eval(fmt.Sprintf(`(async () => {
			const [status, history] = await Promise.all([fetch("/api/v1/status").then((r) => r.json()), fetch("/api/v1/history?span=10m").then((r) => r.json())]);
			const give = (type, data, id) => stream.dispatchEvent(new MessageEvent(type, { data: JSON.stringify(data), lastEventId: id ?? "" }));
			const cut = (h) => { const one = structuredClone(h); for (const l of [h.services, h.backends, h.roles, h.neighbors]) l.forEach((o) => { for (const k in o) if (Array.isArray(o[k])) o[k] = o[k].slice(-1) }); return one };
			const sample = cut(history);
			window.day ??= { t: Date.now() / 1000, n: 0 };
			for (let i = 0; i < %d * 1800; i++) {
				day.t += 2;
				day.n++;
				sample.times = [day.t];
				sample.services[0].requests = [1000 + 500 * Math.sin(i / 60)];
				sample.step_seconds = 2;
				give("sample", sample);
				if (i %% 5 === 0) { sample.step_seconds = 10; give("sample", sample) }
				if (i %% 60 === 0) {
					const b = status.pools[0].backends[0];
					b.state = b.state === "up" ? "down" : "up";
					b.reason = b.state === "up" ? "" : "probe-failed";
					give("status", status);
					give("message", { at: new Date(day.t * 1000).toISOString(), kind: "backend", name: "resolvers/dns-1 (dns)", from: "up", to: b.state, reason: b.reason, detail: "" }, "day-" + day.n);
				}
				if (i %% 1800 === 0) await new Promise(requestAnimationFrame);
			}
			await new Promise((r) => setTimeout(r, 300));
			return { Nodes: document.querySelectorAll("*").length, Numbers: [...document.querySelectorAll(".chart")].reduce((n, c) => n + c._plot.data.reduce((m, l) => m + l.length, 0), 0), Heap: 0 };
		})()`, hours), &out)
		tab.Do(heapprofiler.CollectGarbage(), chromedp.ActionFunc(func(ctx context.Context) (err error) {
			used, _, _, _, err := runtime.GetHeapUsage().Do(ctx)
			out.Heap = int(used)
			return err
		}))
		return out
	}
	hour := measure(2) // the lists are full then
	day := measure(24)
	t.Logf("after some hours %+v, after a day more %+v", hour, day)
	if day.Nodes > hour.Nodes+20 {
		t.Errorf("%d elements after some hours, %d after a day more", hour.Nodes, day.Nodes)
	}
	if day.Numbers > hour.Numbers+200 || hour.Numbers == 0 {
		t.Errorf("%d numbers in the charts after some hours, %d after a day more", hour.Numbers, day.Numbers)
	}
	if day.Heap > hour.Heap+hour.Heap/2 {
		t.Errorf("%d bytes of memory after some hours, %d after a day more", hour.Heap, day.Heap)
	}
	tab.Only("signal timed out") // a question, while the page is kept this busy
}

func pageLost(t *testing.T, s *stand) {
	tab := s.browser.Open(s.page, desktop)
	s.calm(tab)
	s.Kill()
	tab.Until(20*time.Second, "the page says that the node is gone", `document.querySelector("#lost").checkVisibility() && /connection to the node is lost.*last seen \d+ s ago/.test(document.querySelector("#lost").textContent)`)
	tab.Shot("lost", "#now")
	s.Start()
	s.WaitReady()
	tab.Until(25*time.Second, "the page is live again", `!document.querySelector("#lost").checkVisibility() && document.querySelector("#link-text").textContent === "live"`)
	tab.Until(20*time.Second, "and tells the truth", `document.querySelector("#headline").textContent === "Everything serves."`)
	tab.Only("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
	tab.Close()
}
