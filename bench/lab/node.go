package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sereno/bench/internal/scrape"
)

// timing is what the durations of a run follow from.
type timing struct {
	announceAfter             time.Duration
	dnsInterval, dnsTimeout   time.Duration
	radiusInterval, radiusTmo time.Duration
	drain                     time.Duration
}

// fall and lease are the product's defaults, in both forms.
const (
	fall  = 2
	lease = 3 * time.Second
)

// The whole form has the product's defaults. In the short one routes come back sooner and probes are more frequent.
var (
	wholeTiming = timing{10 * time.Second, time.Second, 500 * time.Millisecond, 2 * time.Second, 1500 * time.Millisecond, 5 * time.Second}
	shortTiming = timing{time.Second, 500 * time.Millisecond, 250 * time.Millisecond, time.Second, 700 * time.Millisecond, 2 * time.Second}
)

// found bounds the time from the death of the last backend to the withdrawal (A11), without the router's share.
func (t timing) foundDNS() time.Duration    { return fall*t.dnsInterval*11/10 + t.dnsTimeout }
func (t timing) foundRADIUS() time.Duration { return fall*t.radiusInterval*11/10 + t.radiusTmo }

// node is one site's sereno.
type node struct {
	*process
	site      int
	socket    string
	file      string
	http      http.Client
	timing    timing
	whenDown  string
	neighbors string // more of them than the routers, in YAML
}

// changes are what a node's configuration has beyond the usual, in YAML.
type changes struct {
	pool  string // more keys of both pools
	dns   string // more keys of the DNS service
	entry string // more keys of the anycast entries
	med   int    // 0: the usual one of the site
}

const nodeConfig = `node: {name: node-%[1]d, state_dir: %[2]s/state-%[1]d}
admin: {socket: %[2]s/node-%[1]d.sock, listen: ""}
pools:
  - name: resolvers
    protocol: dns
    health: {interval: %[3]s, timeout: %[4]s, slow_start: 1s}%[14]s
    backends:
      - {name: unbound-1, address: %[5]s}
      - {name: unbound-2, address: %[6]s}
  - name: servers
    protocol: radius
    health: {interval: %[7]s, timeout: %[8]s, slow_start: 1s}%[14]s
    backends:
      - {name: freeradius-1, address: %[9]s, secret: %[11]s}
      - {name: freeradius-2, address: %[10]s, secret: %[11]s}
dns:
  - {name: resolver, listen: ["192.0.2.53:53", "[2001:db8:53::53]:53"], pool: resolvers, allow: ["198.51.100.0/24", "2001:db8:100::/64"]%[15]s}
radius:
  - name: pppoe
    auth: ["192.0.2.18:1812"]
    acct: ["192.0.2.18:1813"]
    pool: servers
    clients: [{name: nas, address: %[12]s, secret: %[13]s}]
`

const routeConfig = `bgp:
  asn: %d
  router_id: 10.255.1.%[2]d
  site: %[2]d
  neighbors:
%[3]sanycast:
  - {name: dns-vip, prefixes: ["%[5]s", "%[6]s"], requires: [resolver], %[4]s}
  - {name: radius-vip, prefixes: ["%[7]s"], requires: [pppoe], %[4]s}
`

// neighborConfig is a session with a router of the core.
const neighborConfig = "    - {name: core-%d-%s, address: %q, asn: %d, source: %q, connect_retry: 1s, ttl_security: 255, password_file: %s}\n"

// newNode writes a node's configuration. Site 1 is the best one for the routers, by its MED.
func newNode(site int, binary string, t timing, whenDown, more string, x changes) (*node, error) {
	n := &node{site: site, socket: fmt.Sprintf("%s/node-%d.sock", dir, site), timing: t, whenDown: whenDown, neighbors: more}
	n.http.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", n.socket)
	}}
	n.http.Timeout = 3 * time.Second
	n.file = filepath.Join(dir, fmt.Sprintf("node-%d.yaml", site))
	n.process = &process{name: nodeSpace(site), namespace: nodeSpace(site), path: binary, args: []string{"run", "-c", n.file}}
	return n, n.configure(x)
}

// configure writes the configuration anew.
func (n *node) configure(x changes) error {
	secret := filepath.Join(dir, "session.secret")
	if err := os.WriteFile(secret, []byte(sessionSecret+"\n"), 0o600); err != nil {
		return err
	}
	return os.WriteFile(n.file, []byte(n.yaml(secret, x)), 0o600)
}

func (n *node) yaml(secret string, x changes) string {
	site, t := n.site, n.timing
	var neighbors strings.Builder
	for _, f := range families {
		for core := 1; core <= 2; core++ {
			fmt.Fprintf(&neighbors, neighborConfig, core, f.channel, f.coreAt(site, core), coreASN, f.nodeAt(site, core), secret)
		}
	}
	med := (site - 1) * 50
	if x.med > 0 {
		med = x.med
	}
	entry := fmt.Sprintf("when_down: %s, announce_after: %s, drain_time: %s, med: %d, demote: {med: %d}, no_export: %v, assign: lo%s",
		n.whenDown, t.announceAfter, t.drain, med, 1000+med, n.whenDown != "hand-over", x.entry)
	return fmt.Sprintf(nodeConfig, site, dir, t.dnsInterval, t.dnsTimeout, server(site, 11), server(site, 12),
		t.radiusInterval, t.radiusTmo, server(site, 21), server(site, 22), serverSecret, subscriberAddress, nasSecret, x.pool, x.dns) +
		fmt.Sprintf(routeConfig, nodeASN, site, neighbors.String()+n.neighbors, entry, dnsPrefix, dnsPrefix6, radiusPrefix)
}

// tell runs one of the node's own commands.
func (n *node) tell(args ...string) error {
	out, err := exec.Command(n.path, append(args, "--socket", n.socket)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("sereno %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// change asks for a change over the socket itself. A command first has to be started, and on a busy machine that takes as
// long as what is measured.
func (n *node) change(query string) error {
	reply, err := n.http.Post("http://node/api/v1/"+query, "", nil)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		text, err := io.ReadAll(reply.Body)
		return errors.Join(fmt.Errorf("%s: %s: %s", query, reply.Status, text), err)
	}
	return nil
}

// status asks the node what it is.
func (n *node) status() (scrape.Status, error) {
	text, err := n.get("/api/v1/status")
	if err != nil {
		return scrape.Status{}, err
	}
	return scrape.ParseStatus(text)
}

// metrics scrapes the node.
func (n *node) metrics() (scrape.Metrics, error) {
	text, err := n.get("/metrics")
	if err != nil {
		return nil, err
	}
	return scrape.Parse(string(text))
}

func (n *node) get(path string) ([]byte, error) {
	reply, err := n.http.Get("http://node" + path)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s of %s: %s", path, n.name, reply.Status)
	}
	return io.ReadAll(reply.Body)
}
