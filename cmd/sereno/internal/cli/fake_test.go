package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sereno/cmd/sereno/internal/admin"
)

var testBuild = admin.Build{Version: "0.1.0", Commit: "abc", Date: "2026-11-23", GoVersion: "go1.26.0"}

// fakeNode is a node of memory alone, behind a real server of the API.
type fakeNode struct {
	fakeSpools
	mu      sync.Mutex
	status  admin.Status
	err     error
	calls   []string
	warning string        // of drains and their ends
	asked   chan struct{} // told at each Status, if somebody listens until stop
	stop    chan struct{}
	change  admin.Changes
}

func (n *fakeNode) Status() admin.Status {
	select {
	case n.asked <- struct{}{}:
	case <-n.stop:
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

func (n *fakeNode) Ready() (bool, []string) { return true, nil }

func (n *fakeNode) Drain(_ context.Context, target admin.Target, d time.Duration, force bool) (admin.Drained, error) {
	drain := admin.Drained{Target: target.String(), Since: admin.At(moment), Warning: n.warning}
	if d > 0 {
		drain.Until = admin.At(moment.Add(d))
	}
	return drain, n.note("drain %s %s %v", target, d, force)
}

func (n *fakeNode) Undrain(_ context.Context, target admin.Target) (admin.Undrained, error) {
	return admin.Undrained{Target: target.String(), Warning: n.warning}, n.note("undrain %s", target)
}

func (n *fakeNode) Reload(_ context.Context, allowEmpty bool) (admin.Changes, error) {
	return n.change, n.note("reload %v", allowEmpty)
}

func (n *fakeNode) Flush(service, name string, subtree bool) (int, error) {
	return 3, n.note("flush %s %s %v", service, name, subtree)
}

func (n *fakeNode) Forget(service string, address netip.Addr) (int, error) {
	return 2, n.note("forget %s %v", service, address)
}

func (n *fakeNode) ExplainDNS(q admin.DNSQuestion) ([]admin.Explanation, error) {
	return []admin.Explanation{{Subject: "resolver", Words: []string{"it is in the cache"}}}, n.note("explain dns %s %s %v", q.Name, q.Type, q.Client)
}

func (n *fakeNode) ExplainRADIUS(q admin.RADIUSQuestion) ([]admin.Explanation, error) {
	return []admin.Explanation{{Subject: "pppoe", Words: []string{"no such realm"}}}, n.note("explain radius %s %v", q.User, q.NAS)
}

func (n *fakeNode) ExplainAnycast(name string) (admin.Explanation, error) {
	return admin.Explanation{Subject: name, Words: []string{"it is announced"}}, n.note("explain anycast %s", name)
}

func (n *fakeNode) note(format string, v ...any) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, fmt.Sprintf(format, v...))
	return n.err
}

func (n *fakeNode) taken() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	calls := strings.Join(n.calls, ", ")
	n.calls = nil
	return calls
}

// startNode serves a fake node that is well and returns it with its socket.
func startNode(t *testing.T) (*fakeNode, string) {
	t.Helper()
	stop := make(chan struct{})
	close(stop)
	return serveNode(t, &fakeNode{status: calmStatus(), stop: stop})
}

// serveNode serves a fake node behind the real API.
func serveNode(t *testing.T, node *fakeNode) (*fakeNode, string) {
	t.Helper()
	registry, err := admin.NewRegistry(testBuild, func() admin.Snapshot { return admin.Snapshot{} })
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	server, err := admin.New(admin.Options{Node: node, Registry: registry, Doors: admin.Doors{Socket: socket}})
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return node, socket
}

// run executes one command line.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = Execute(context.Background(), Root(testBuild, SpoolCommand(openFake)), args, &out, &err)
	return code, out.String(), err.String()
}

// brokenWriter is a full disk.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

var moment = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// calmStatus is a node that is well.
func calmStatus() admin.Status {
	at := func(d time.Duration) admin.Time { return admin.At(moment.Add(d)) }
	backend := func(name, address, role string, latency time.Duration) admin.Backend {
		return admin.Backend{
			Name: name, Address: address, Role: role, State: admin.StateUp, Since: at(time.Second), Weight: 1, Share: 1, InFlight: 2,
			Latency: admin.MillisOf(latency), LastProbe: admin.LastProbe{At: at(time.Hour), OK: true},
		}
	}
	return admin.Status{
		Node: "garibaldi-1", Version: "0.1.0", Started: at(0), State: admin.StateUp,
		Config: admin.ConfigStatus{Path: "/etc/sereno/sereno.yaml", Hash: "9f2c5e0011223344", Loaded: at(0)},
		Services: []admin.Service{
			{
				Name: "resolver", Kind: "dns", State: admin.StateUp, Since: at(time.Second), Pool: "resolvers", Listen: []string{"192.0.2.53:53"},
				Requests: 120394, Answers: 120391, Drops: 3, Cache: &admin.Cache{Entries: 51234, Bytes: 9300000, Hits: 100321, Misses: 20070},
			},
			{Name: "pppoe", Kind: "radius", State: admin.StateUp, Since: at(2 * time.Second), Pool: "radius-pppoe", Requests: 5000, Answers: 4990, Drops: 8, InFlight: 2},
		},
		Pools: []admin.Pool{
			{
				Name: "resolvers", Protocol: "dns", Roles: []admin.Role{{Role: "dns", State: admin.StateUp, Healthy: 2, MinHealthy: 1}},
				Backends: []admin.Backend{backend("fulmine", "10.0.0.11:53", "dns", 400*time.Microsecond), backend("tempesta", "10.0.0.12:53", "dns", 350*time.Microsecond)},
			},
			{
				Name: "radius-pppoe", Protocol: "radius",
				Roles: []admin.Role{{Role: "auth", State: admin.StateUp, Healthy: 1, MinHealthy: 1}, {Role: "acct", State: admin.StateUp, Healthy: 1, MinHealthy: 1}},
				Backends: []admin.Backend{
					backend("fulmine", "10.0.0.21:1812", "auth", 12*time.Millisecond), backend("fulmine", "10.0.0.21:1813", "acct", 3*time.Millisecond),
				},
			},
		},
		Anycast: []admin.Anycast{{Name: "dns-vip", Prefixes: []string{"192.0.2.53/32", "2001:db8::53/128"}, State: admin.StateAnnounced, Since: at(2 * time.Second)}},
		BGP: admin.BGP{Neighbors: []admin.Neighbor{{
			Name: "core-1", Speaker: admin.StateUp, LeaseMargin: 2.95, Address: "10.0.0.1", ASN: 64500,
			State: admin.StateEstablished, Since: at(2 * time.Second), Advertised: []string{"192.0.2.53/32"},
		}}},
	}
}

// troubledStatus is a node in trouble, with names that are long, wide or evil.
func troubledStatus() admin.Status {
	at := func(d time.Duration) admin.Time { return admin.At(moment.Add(d)) }
	long := strings.Repeat("very-long-name-", 5)
	evil := "<script>alert(1)</script>\x1b[2J\x1b[31m\r\n\u202egnp.exe\x00\xff"
	s := calmStatus()
	s.Node, s.State = evil, admin.StateDegraded
	s.Config.Path, s.Config.LastError = "/etc/"+long+"/"+long, "the configuration has errors\nsereno.yaml:3:5: error: dns[0].pool: no pool\nsereno.yaml:9:1: error: bpg: no such key\nthree\nfour\nfive"
	s.Alarms = []admin.Alarm{
		{Name: "neighbor-down", Since: at(5 * time.Minute), Text: "core-2 (10.0.0.3): connection refused"},
		{Name: "backend-wrong-replies", Since: at(-80 * 24 * time.Hour), Text: "the backend " + long + " answers questions that nobody has asked, from 10.0.0.12:53: " + evil},
	}
	s.Drains = []admin.Drain{
		{Target: "pool/resolvers/tempesta", Since: at(5 * time.Minute)},
		{Target: "anycast/" + long + long, Since: at(time.Hour), Until: at(3 * time.Hour)},
	}
	s.Services[0].Name, s.Services[0].State, s.Services[0].Reason = long, admin.StateDegraded, "no-healthy-backend"
	s.Services[0].Requests, s.Services[0].Answers, s.Services[0].Drops, s.Services[0].InFlight = 1<<63, 99_999_999, 100_000_000, -1
	s.Services[1].Name, s.Services[1].State, s.Services[1].Reason = "コンソール接続サービス", admin.StateDown, "self-probe-failed"
	s.Services[1].Spool = &admin.Spool{
		Records: 1234, Bytes: 5 << 20, Oldest: admin.SecondsOf(90 * time.Minute), SetAside: 3, Used: 0.934, Stored: 1 << 40, Delivered: 12345678, PerSecond: 4999.6,
		Resent: admin.Counts{"silent": 5, "anew": 7}, Refused: admin.Counts{"interim": 1 << 30}, DiskFailed: 1,
	}
	s.Alarms = append(s.Alarms, admin.Alarm{Name: "spool-filling", Subject: "コンソール接続サービス", Since: at(time.Hour), Text: "93 % of spool_max is taken; above 90 % no Interim-Update is stored, above 95 % no Start"})
	b := s.Pools[0].Backends
	b[0].Name, b[0].Address, b[0].State, b[0].Reason = long, "[2001:db8:1234:5678:9abc:def0:1234:5678]:53", admin.StateDown, "probe-failed"
	b[0].LastProbe = admin.LastProbe{At: at(time.Hour), Error: "read udp: i/o timeout " + evil}
	b[1].State, b[1].Reason, b[1].Share, b[1].Backup, b[1].Latency = admin.StateDrained, "drained", 0, true, 0
	s.Pools[0].Roles[0].State, s.Pools[0].Roles[0].Healthy = admin.StateDown, 0
	s.Pools[1].Name = long + long
	s.Pools = append(s.Pools, admin.Pool{Name: "empty", Protocol: "dns"})
	s.Anycast = append(s.Anycast, admin.Anycast{
		Name: long, Prefixes: []string{"192.0.2.18/32", "2001:db8:ffff:ffff:ffff:ffff:ffff:18/128", "198.51.100.0/24"},
		State: admin.StateWithdrawn, Reason: "hold-down", Since: at(time.Hour), WaitsFor: "announce_after, 35 s of 40 s",
	})
	s.BGP.Neighbors = append(s.BGP.Neighbors, admin.Neighbor{
		Name: "core-2", Speaker: admin.StateDown, Address: "2001:db8::1", ASN: 4294967295, State: admin.StateConnecting, Since: at(time.Hour),
		LastError: "dial tcp [2001:db8::1]:179: connect: connection refused",
	})
	return s
}

func (n *fakeNode) Top(_ context.Context, q admin.TopQuestion) (admin.Top, error) {
	long := strings.Repeat("a-very-long-label.", 12)
	top := admin.Top{Window: admin.SecondsOf(q.For), Services: []admin.TopService{{Name: "resolver", Kind: "dns", Requests: 1000, Lists: []admin.TopList{
		{Of: "names", Entries: []admin.TopEntry{{Key: "www.example.com.", Requests: 900, Over: 2, PerSecond: 90, Share: 0.9}, {Key: long + "\x1b[2J", Requests: 10, PerSecond: 1, Share: 0.01}}},
		{Of: "clients"},
	}}}}
	return top, n.note("top %s %v %d", q.Service, q.For, q.Limit)
}

func (n *fakeNode) TraceDNS(q admin.DNSTrace) (admin.Following, error) {
	return &fakeFollowing{}, n.note("trace dns %v %s", q.Client, q.Name)
}

func (n *fakeNode) TraceRADIUS(q admin.RADIUSTrace) (admin.Following, error) {
	return &fakeFollowing{}, n.note("trace radius %s %v", q.User, q.NAS)
}

// fakeFollowing tells two lines.
type fakeFollowing struct{ told int }

func (f *fakeFollowing) Next(ctx context.Context) (admin.TraceLine, bool) {
	if f.told++; f.told > 2 {
		<-ctx.Done()
		return admin.TraceLine{}, false
	}
	return admin.TraceLine{
		At: admin.Instant{Time: time.Unix(1_000_000, 0)}, Service: "pppoe", Request: 7, After: 1.5, Step: "received", Text: "Access-Request \x1b[2J", Attributes: []string{"User-Name = \"alice\"", "User-Password = (not shown)"},
	}, true
}

func (f *fakeFollowing) Close() {}
