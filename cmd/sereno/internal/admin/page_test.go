package admin

import (
	"compress/gzip"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
)

var plainText = [2]string{"Accept-Encoding", "identity"}

func TestO21PageIsServedWithAStrictPolicy(t *testing.T) {
	s := startServer(t, nil)
	types := map[string]string{"/": "text/html; charset=utf-8", "/page/app.js": "text/javascript; charset=utf-8", "/page/style.css": "text/css; charset=utf-8", "/page/icon-up.svg": "image/svg+xml"}
	for p, want := range types {
		code, body, h := ask(t, s.overListen, "GET", s.url(p), plainText)
		if code != 200 || h.Get("Content-Type") != want || body == "" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %d %v", p, code, h)
		}
		policy := h.Get("Content-Security-Policy")
		if policy != pagePolicy || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: %s", p, policy)
		}
		code, again, head := ask(t, s.overListen, "HEAD", s.url(p), plainText)
		if code != 200 || again != "" || head.Get("ETag") != h.Get("ETag") || head.Get("Content-Type") != want {
			t.Errorf("HEAD %s: %d %v", p, code, head)
		}
		if code, _, h := ask(t, s.overListen, "POST", s.url(p)); code != 405 || h.Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: %d %v", p, code, h)
		}
	}
	if code, _, _ := ask(t, s.overSocket, "GET", "http://node/"); code != 200 {
		t.Errorf("over the socket: %d", code)
	}
}

func TestO21PageIsKeptAndAskedForAnew(t *testing.T) {
	s := startServer(t, nil)
	_, whole, h := ask(t, s.overListen, "GET", s.url("/page/app.js"), plainText)
	tag := h.Get("ETag")
	if tag == "" || h.Get("Cache-Control") != "no-cache" || h.Get("Vary") != "Accept-Encoding" {
		t.Fatalf("%v", h)
	}
	if code, body, h := ask(t, s.overListen, "GET", s.url("/page/app.js"), plainText, [2]string{"If-None-Match", tag}); code != 304 || body != "" || h.Get("ETag") != tag {
		t.Errorf("%d %q %v", code, body, h)
	}
	if code, _, _ := ask(t, s.overListen, "GET", s.url("/page/app.js"), plainText, [2]string{"If-None-Match", `"other"`}); code != 200 {
		t.Errorf("of another version: %d", code)
	}
	_, body, h := ask(t, s.overListen, "GET", s.url("/page/app.js"), [2]string{"Accept-Encoding", "br, gzip;q=0.8"})
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil || h.Get("Content-Encoding") != "gzip" || h.Get("ETag") == tag {
		t.Fatalf("%v %v", err, h)
	}
	if text, err := io.ReadAll(z); err != nil || string(text) != whole {
		t.Errorf("packed and unpacked it is another text (%v)", err)
	}
	if _, body, h := ask(t, s.overListen, "GET", s.url("/page/app.js"), [2]string{"Accept-Encoding", "gzip;q=0"}); h.Get("Content-Encoding") != "" || body != whole {
		t.Errorf("who refuses gzip gets %v", h)
	}
}

func TestO21OnlyThePagesOwnFilesAreServed(t *testing.T) {
	s := startServer(t, nil)
	for _, p := range []string{
		"/page/", "/page", "/page/index.html", "/page/vendor/", "/page/vendor/README.md", "/page/../server.go", "/page/%2e%2e/server.go",
		"/page/..%2fserver.go", "/page//app.js", "/page/app.js/", "//page/app.js", "/page/app.js%00.css", "/index.html", "/app.js", "/PAGE/APP.JS",
	} {
		if code, body, h := ask(t, s.overListen, "GET", s.url(p)); code != 404 || h.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %.60q", p, code, body)
		}
	}
	for _, h := range [][2]string{{"Host", "evil.example"}, {"Origin", "http://evil.example"}} {
		if code, _, _ := ask(t, s.overListen, "GET", s.url("/"), h); code != 403 {
			t.Errorf("%v: %d", h, code)
		}
	}
}

// TestO21PageNamesNothingOutside reads the sources: no address of another host but in a
// comment, no markup of texts, no script or style in the markup.
func TestO21PageNamesNothingOutside(t *testing.T) {
	outside := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9-]+\.[a-z]`)
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\("(style|on)|localStorage\.clear`)
	inline := regexp.MustCompile(`(?i)<script(?:\s+[^>]*)?>[^<]|<style|\son[a-z]+=|\sstyle=|javascript:`)
	n := 0
	err := fs.WalkDir(pageFS, "page", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(name, ".md") || strings.HasSuffix(name, ".txt") {
			return err
		}
		n++
		data, err := pageFS.ReadFile(name)
		text := string(data)
		if strings.HasPrefix(name, "page/vendor/") {
			text = regexp.MustCompile(`(?m)^/\*!.*$`).ReplaceAllString(text, "")
		}
		text = strings.ReplaceAll(text, "http://www.w3.org/2000/svg", "") // a name, not an address
		if found := outside.FindString(text); found != "" {
			t.Errorf("%s names %s", name, found)
		}
		if found := forbidden.FindString(text); found != "" {
			t.Errorf("%s has %s", name, found)
		}
		if path.Ext(name) == ".html" || path.Ext(name) == ".svg" {
			if found := inline.FindString(text); found != "" {
				t.Errorf("%s has %q", name, found)
			}
		}
		return err
	})
	if err != nil || n < 5 {
		t.Errorf("%d files, %v", n, err)
	}
}
