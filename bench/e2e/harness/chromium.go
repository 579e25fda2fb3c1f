package harness

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Browser is a real Chromium with a profile of its own, which ends with the lab.
type Browser struct {
	lab *Lab
	ctx context.Context
}

// Chromium starts the browser, with further options of its command line.
func (l *Lab) Chromium(options ...chromedp.ExecAllocatorOption) *Browser {
	l.t.Helper()
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), append(append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(l.Program("chromium")), chromedp.UserDataDir(filepath.Join(l.dir, "chromium")),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.WSURLReadTimeout(time.Minute),
	), options...)...)
	ctx, stop := chromedp.NewContext(allocator)
	l.t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // it closes the browser and waits; what is left ends with the allocator
		stop()
		cancel()
	})
	started := make(chan error)
	l.runs <- func() { started <- chromedp.Run(ctx) }
	if err := <-started; err != nil {
		l.t.Fatalf("starting chromium: %v", err)
	}
	return &Browser{lab: l, ctx: ctx}
}

// View is how a page is looked at.
type View struct {
	Width, Height int64
	Phone, Dark   bool
	Before        string // script that runs before the page's own
}

// Tab is one open page, and what went wrong in it.
type Tab struct {
	lab    *Lab
	ctx    context.Context
	cancel context.CancelFunc
	origin string

	mu     sync.Mutex
	faults []string
}

// Open opens an address. What the page logs as an error, every request for another origin, and every request that could
// change something, is a fault.
func (b *Browser) Open(address string, v View) *Tab {
	b.lab.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	u, err := url.Parse(address)
	if err != nil {
		b.lab.t.Fatal(err)
	}
	t := &Tab{lab: b.lab, ctx: ctx, cancel: cancel, origin: u.Scheme + "://" + u.Host + "/"}
	chromedp.ListenTarget(ctx, t.hear)
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	density := 1.0
	if v.Phone {
		density = 2
	}
	t.run(20*time.Second, network.Enable(), log.Enable(), runtime.Enable(),
		emulation.SetDeviceMetricsOverride(v.Width, v.Height, density, v.Phone),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		chromedp.ActionFunc(func(ctx context.Context) error {
			if v.Before == "" {
				return nil
			}
			_, err := page.AddScriptToEvaluateOnNewDocument(v.Before).Do(ctx)
			return err
		}),
		chromedp.Navigate(address))
	return t
}

func (t *Tab) hear(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
			t.faults = append(t.faults, fmt.Sprintf("console: %s", e.Args[0].Value))
		}
	case *runtime.EventExceptionThrown:
		t.faults = append(t.faults, "exception: "+e.ExceptionDetails.Error())
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
			t.faults = append(t.faults, fmt.Sprintf("log: %s %s", e.Entry.Text, e.Entry.URL))
		}
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, t.origin) {
			t.faults = append(t.faults, "asked for "+e.Request.URL)
		}
		if e.Request.Method != http.MethodGet {
			t.faults = append(t.faults, e.Request.Method+" of "+e.Request.URL)
		}
	}
}

func (t *Tab) run(patience time.Duration, actions ...chromedp.Action) {
	t.lab.t.Helper()
	// A context that ends takes the tab with it, so the patience is beside it.
	done := make(chan error, 1)
	go func() { done <- chromedp.Run(t.ctx, actions...) }()
	select {
	case err := <-done:
		if err != nil {
			t.lab.t.Fatalf("chromium: %v", err)
		}
	case <-time.After(patience):
		t.lab.t.Fatalf("chromium: not within %s", patience)
	}
}

// Eval runs a script in the page and reads its value into out; a promise is waited for.
func (t *Tab) Eval(script string, out any) {
	t.lab.t.Helper()
	t.run(time.Minute, chromedp.Evaluate(script, out, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
}

// Text is what a person can read of the elements that match.
func (t *Tab) Text(selector string) string {
	t.lab.t.Helper()
	var text string
	t.Eval(fmt.Sprintf("[...document.querySelectorAll(%q)].map((n) => n.innerText).join('\\n')", selector), &text)
	return text
}

// Until waits until the script's value is true.
func (t *Tab) Until(patience time.Duration, what, script string) {
	t.lab.t.Helper()
	t.lab.Eventually(patience, what, func() bool {
		var ok bool
		t.Eval("Boolean("+script+")", &ok)
		if !ok {
			time.Sleep(50 * time.Millisecond)
		}
		return ok
	})
}

// Press presses keys, one after the other.
func (t *Tab) Press(keys ...string) {
	t.lab.t.Helper()
	for _, k := range keys {
		t.run(10*time.Second, chromedp.KeyEvent(k))
	}
}

// Do runs any actions.
func (t *Tab) Do(actions ...chromedp.Action) {
	t.lab.t.Helper()
	t.run(30*time.Second, actions...)
}

// Shot writes pictures of what is in view from the start of each of these elements on, as
// SERENO_SHOTS/NAME-N.png; without the variable it does nothing.
func (t *Tab) Shot(name string, from ...string) {
	t.lab.t.Helper()
	dir := os.Getenv("SERENO_SHOTS")
	if dir == "" {
		return
	}
	for i, selector := range from {
		var picture []byte
		t.Eval(fmt.Sprintf("document.querySelector(%q).scrollIntoView({block: 'start'})", selector), nil)
		t.Do(chromedp.CaptureScreenshot(&picture))
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d.png", name, i)), picture, 0o600); err != nil {
			t.lab.t.Fatal(err)
		}
	}
}

// Only forgets what was provoked, and fails the test if anything else went wrong so far: a fault that has none of these
// words.
func (t *Tab) Only(provoked ...string) {
	t.lab.t.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.faults {
		if !slices.ContainsFunc(provoked, func(words string) bool { return strings.Contains(f, words) }) {
			t.lab.t.Errorf("the page: %s", f)
		}
	}
	t.faults = nil
}

// Close closes the tab and fails the test if anything went wrong in it.
func (t *Tab) Close() {
	t.lab.t.Helper()
	t.Only()
	_ = chromedp.Cancel(t.ctx) // waits until it is closed
	t.cancel()
}
