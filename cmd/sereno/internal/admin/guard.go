package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
)

// guard decides who may do what at admin.listen. At the socket there is none: the
// file's mode is the guard.
type guard struct {
	names    []string // host names that are ours, in lower case
	loopback bool     // it listens on loopback only
}

// newGuard guards a door that listens on host, of a node with that name.
func newGuard(host, node string) *guard {
	g := &guard{}
	hostname, _ := os.Hostname() // without it there is one name less
	for _, name := range []string{host, node, hostname} {
		if name = canonicalHost(name); name != "" {
			g.names = append(g.names, name)
		}
	}
	addr, err := netip.ParseAddr(host)
	g.loopback = host == "localhost" || err == nil && addr.IsLoopback()
	return g
}

// Refusals of a guard.
var (
	errForeignHost   = errors.New("this node has no such host name: ask it by address, by the node's name or by localhost")
	errForeignOrigin = errors.New("pages of other origins may not ask this node")
	errNoToken       = errors.New("changes need `Authorization: Bearer TOKEN`, or the socket")
	errWrongToken    = errors.New("wrong token")
	errSocketOnly    = errors.New("this is answered over the socket only")
	errTokenOff      = errors.New("changes are possible over the socket only: admin.token_file is not set")
)

// check refuses what a browser may have been tricked into. A page whose name its owner
// points at our address (DNS rebinding) gives itself away by the Host header; addresses
// cannot be rebound. Probes and metrics are asked under whatever name the monitoring uses,
// if the node listens for more than itself: they hold configured names and numbers only.
func (g *guard) check(r *http.Request, e *endpoint) error {
	if !g.ours(r.Host) && (g.loopback || !e.machine) {
		return errForeignHost
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || !strings.EqualFold(u.Host, r.Host) {
			return errForeignOrigin
		}
	}
	if e.change && http.NewCrossOriginProtection().Check(r) != nil {
		return errForeignOrigin
	}
	return nil
}

// ours tells whether a Host header names this node.
func (g *guard) ours(header string) bool {
	host := hostOf(header)
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = canonicalHost(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.Contains(g.names, host)
}

// hostOf is the host in HOST, HOST:PORT or [HOST]:PORT.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return strings.Trim(address, "[]")
}

func canonicalHost(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// token is what must be shown for a change at admin.listen; nil: nobody can.
type token [sha256.Size]byte

func newToken(text string) *token {
	if text == "" {
		return nil
	}
	t := token(sha256.Sum256([]byte(text)))
	return &t
}

// check compares in constant time, whatever the length of what is shown.
func (t *token) check(r *http.Request) error {
	if t == nil {
		return errTokenOff
	}
	scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if shown = strings.TrimSpace(shown); !strings.EqualFold(scheme, "Bearer") || shown == "" {
		return errNoToken
	}
	hash := sha256.Sum256([]byte(shown))
	if subtle.ConstantTimeCompare(hash[:], t[:]) != 1 {
		return errWrongToken
	}
	return nil
}
