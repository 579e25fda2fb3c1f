package admin

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
)

// pageFS is the web page: what a browser is given is these files, as they are.
//
//go:embed page
var pageFS embed.FS

// pageTypes are the kinds of files that belong to the page; others in the folder are for
// people who read the source.
var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// pagePolicy lets the page load what is its own, and nothing else: no resource of others, no
// script or style in the text, no framing, and no way for a script to make markup of a text
// (Content Security Policy 3, Trusted Types).
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// pageFiles are what is served by path: "/" and "/page/…", each file by its exact name.
var pageFiles = sync.OnceValue(func() map[string]http.HandlerFunc {
	out := map[string]http.HandlerFunc{}
	_ = fs.WalkDir(pageFS, "page", func(name string, entry fs.DirEntry, err error) error { // an embedded tree gives no error
		kind := pageTypes[path.Ext(name)]
		if err != nil || entry.IsDir() || kind == "" {
			return err
		}
		data, err := pageFS.ReadFile(name)
		if err != nil {
			return err
		}
		at := "/" + name
		if name == "page/index.html" {
			at = "/"
		}
		out[at] = servePage(kind, data)
		return nil
	})
	return out
})

// servePage serves one file. It may be kept, and is asked for anew each time: after an upgrade
// nobody sees a mixture.
func servePage(kind string, data []byte) http.HandlerFunc {
	sum := sha256.Sum256(data)
	tag := hex.EncodeToString(sum[:12])
	small := packed(data)
	return func(w http.ResponseWriter, r *http.Request) {
		body, etag, h := data, `"`+tag+`"`, w.Header()
		if unpacks(r) {
			body, etag = small, `"`+tag+`-gzip"`
			h.Set("Content-Encoding", "gzip")
		}
		h.Set("Content-Type", kind)
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		h.Set("Vary", "Accept-Encoding")
		h.Set("ETag", etag)
		if strings.Contains(r.Header.Get("If-None-Match"), etag) {
			h.Del("Content-Encoding")
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(body) // a client that went away needs no answer
	}
}
