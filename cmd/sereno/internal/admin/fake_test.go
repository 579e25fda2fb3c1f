package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func isBadArgument(err error) bool { return errors.Is(err, ErrBadArgument) }

// fakeNode is a node of memory alone. It fails the test if it is asked for what the
// server must have refused.
type fakeNode struct {
	fakeSpools
	t      *testing.T
	status Status

	mu      sync.Mutex
	reasons []string
	err     error         // what the next changes return
	hold    chan struct{} // not nil: Drain waits for it
	entered chan struct{} // told when Drain waits
	calls   []string
}

func (n *fakeNode) Status() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.status
	s.Services = slices.Clone(s.Services)
	s.BGP.Neighbors = slices.Clone(s.BGP.Neighbors)
	return s
}

func (n *fakeNode) Ready() (bool, []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.reasons) == 0, n.reasons
}

func (n *fakeNode) Drain(ctx context.Context, target Target, d time.Duration, force bool) (Drained, error) {
	if target == (Target{}) || d < 0 || d > MaxDrain {
		n.t.Errorf("the node was asked to drain %v for %v", target, d)
	}
	if n.hold != nil {
		n.entered <- struct{}{}
		<-n.hold
		if ctx.Err() != nil {
			n.t.Errorf("the change was given up: %v", ctx.Err())
		}
	}
	drain := Drained{Target: target.String(), Since: At(time.Unix(1, 0))}
	if d > 0 {
		drain.Until = At(time.Unix(1, 0).Add(d))
	}
	return drain, n.note("drain %s %v %v", target, d, force)
}

func (n *fakeNode) Undrain(_ context.Context, target Target) (Undrained, error) {
	return Undrained{Target: target.String()}, n.note("undrain %s", target)
}

func (n *fakeNode) Reload(_ context.Context, allowEmpty bool) (Changes, error) {
	return Changes{Hash: "abc", Changes: []Change{{Action: "changed", Key: "dns[resolver].udp_size", Text: "1232 → 1400"}}}, n.note("reload %v", allowEmpty)
}

func (n *fakeNode) Flush(service, name string, subtree bool) (int, error) {
	return 3, n.note("flush %s %s %v", service, name, subtree)
}

func (n *fakeNode) Forget(service string, address netip.Addr) (int, error) {
	return 2, n.note("forget %s %v", service, address)
}

func (n *fakeNode) ExplainDNS(q DNSQuestion) ([]Explanation, error) {
	return []Explanation{{Subject: "resolver", Words: []string{"it is in the cache"}}}, n.note("explain dns %s %s %v", q.Name, q.Type, q.Client)
}

func (n *fakeNode) ExplainRADIUS(q RADIUSQuestion) ([]Explanation, error) {
	return []Explanation{{Subject: "pppoe", Words: []string{"no such realm"}}}, n.note("explain radius %s %v", q.User, q.NAS)
}

func (n *fakeNode) ExplainAnycast(name string) (Explanation, error) {
	return Explanation{Subject: name, Words: []string{"it is announced"}}, n.note("explain anycast %s", name)
}

func (n *fakeNode) note(format string, v ...any) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, fmt.Sprintf(format, v...))
	return n.err
}

func (n *fakeNode) taken() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	calls := n.calls
	n.calls = nil
	return calls
}

const testToken = "correct horse battery staple"

// testServer is a server with both doors open.
type testServer struct {
	*Server
	node           *fakeNode
	socket, listen string
	overSocket     *http.Client
	overListen     *http.Client
}

func startServer(t *testing.T, change func(*Options, *limits)) *testServer {
	t.Helper()
	node := &fakeNode{t: t, status: contractStatus(t), entered: make(chan struct{})}
	registry, err := NewRegistry(Build{"0.1.0", "abc", "2026-11-23", "go1.26.0"}, func() Snapshot { return Snapshot{} })
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Node: node, Registry: registry, Name: "garibaldi-1", Doors: Doors{
		Socket: filepath.Join(t.TempDir(), "admin.sock"), Listen: "127.0.0.1:0", Token: testToken,
	}}
	l := defaultLimits()
	if change != nil {
		change(&o, &l)
	}
	s, err := newServer(o, l)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	ts := &testServer{Server: s, node: node}
	ts.socket, ts.listen = s.Addresses()
	ts.overSocket = client(t, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", ts.socket)
	})
	ts.overListen = client(t, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", ts.listen)
	})
	return ts
}

func client(t *testing.T, dial func(context.Context) (net.Conn, error)) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// ask sends a request and returns code and body. Headers are "Name: value"; Host too.
func ask(t *testing.T, c *http.Client, method, url string, headers ...[2]string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		if h[0] == "Host" {
			r.Host = h[1]
		}
		r.Header.Set(h[0], h[1])
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body), answer.Header
}

func (s *testServer) url(path string) string { return "http://" + s.listen + path }

func bearer(token string) [2]string { return [2]string{"Authorization", "Bearer " + token} }

func (n *fakeNode) Top(_ context.Context, q TopQuestion) (Top, error) {
	long := strings.Repeat("a-very-long-label.", 12)
	top := Top{Window: SecondsOf(q.For), Services: []TopService{{Name: "resolver", Kind: "dns", Requests: 1000, Lists: []TopList{
		{Of: "names", Entries: []TopEntry{{Key: "www.example.com.", Requests: 900, Over: 2, PerSecond: 90, Share: 0.9}, {Key: long + "\x1b[2J", Requests: 10, PerSecond: 1, Share: 0.01}}},
		{Of: "clients"},
	}}}}
	return top, n.note("top %s %v %d", q.Service, q.For, q.Limit)
}

func (n *fakeNode) TraceDNS(q DNSTrace) (Following, error) {
	return &fakeFollowing{}, n.note("trace dns %v %s", q.Client, q.Name)
}

func (n *fakeNode) TraceRADIUS(q RADIUSTrace) (Following, error) {
	return &fakeFollowing{}, n.note("trace radius %s %v", q.User, q.NAS)
}

// fakeFollowing tells two lines.
type fakeFollowing struct{ told int }

func (f *fakeFollowing) Next(ctx context.Context) (TraceLine, bool) {
	if f.told++; f.told > 2 {
		<-ctx.Done()
		return TraceLine{}, false
	}
	return TraceLine{
		At: Instant{Time: time.Unix(1_000_000, 0)}, Service: "pppoe", Request: 7, After: 1.5, Step: "received", Text: "Access-Request \x1b[2J", Attributes: []string{"User-Name = \"alice\"", "User-Password = (not shown)"},
	}, true
}

func (f *fakeFollowing) Close() {}
