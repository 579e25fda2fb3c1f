package lab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Autonomous systems of the laboratory.
const (
	coreASN = 64500
	nodeASN = 64512
)

// view is what a router has on one prefix.
type view struct {
	down  bool           // the router cannot be asked
	best  string         // whom it sends to: "node-1", "node-2", "core-1", "core-2", or "" for nobody
	paths map[string]int // the paths that the nodes themselves gave it
}

// What a node said of its own path.
const (
	absent int = iota
	demoted
	announced
)

func (v view) equal(o view) bool {
	if v.down != o.down || v.best != o.best || len(v.paths) != len(o.paths) {
		return false
	}
	for k, p := range v.paths {
		if o.paths[k] != p {
			return false
		}
	}
	return true
}

// router is a router of the core that can be asked.
type router interface {
	label() string // BIRD or FRR
	ask(prefix string) (view, error)
	connect() error
	daemons() []*process
}

const birdHead = `log stderr all;
router id %s;
protocol device {
	scan time 1;
}
protocol kernel {
	ipv4 {
		import none;
		export where source = RTS_BGP;
	};
}
`

// birdInside is a session inside the core. The neighbors are next to one another, so no protocol has to bring their
// addresses.
const birdInside = `protocol bgp %s {
	local %s as %d;
	neighbor %s as %[3]d;
	direct;
	hold time 9;
	connect delay time 1;
	connect retry time 1;
	error wait time 1, 2;
	ipv4 {
		import all;
		export where source = RTS_BGP;
		next hop self;
		gateway direct;
	};
}
`

const birdOutside = `protocol bgp %s {
	local %s as %d;
	neighbor %s as %d;
	passive yes;
	hold time 9;
	ipv4 {
		import all;
		export %s;
	};
}
`

// bird is a BIRD 2.
type bird struct {
	*process
	control string
	conn    net.Conn
	in      *bufio.Reader
}

func newBIRD(namespace, conf string) (*bird, error) {
	name := "bird-" + namespace
	file := filepath.Join(dir, name+".conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	b := &bird{control: filepath.Join(dir, name+".ctl")}
	b.process = &process{name: name, namespace: namespace, path: "bird",
		args: []string{"-f", "-c", file, "-s", b.control, "-P", filepath.Join(dir, name+".pid")}}
	return b, b.start()
}

// coreBIRD is the first router of the core.
func coreBIRD(export bool) (*bird, error) {
	var conf strings.Builder
	fmt.Fprintf(&conf, birdHead, "10.255.0.1")
	fmt.Fprintf(&conf, birdInside, "core_2", "10.0.3.1", coreASN, "10.0.3.2")
	fmt.Fprintf(&conf, birdInside, "subscribers", "10.0.1.1", coreASN, "10.0.1.2")
	to := "none"
	if export {
		to = "all"
	}
	for site := 1; site <= sites; site++ {
		fmt.Fprintf(&conf, birdOutside, fmt.Sprintf("node_%d", site), coreAt(site, 1), coreASN, nodeAt(site, 1), nodeASN, to)
	}
	return newBIRD(core1, conf.String())
}

// subscriberBIRD is the router of the subscribers: it learns from both routers of the core.
func subscriberBIRD() (*bird, error) {
	var conf strings.Builder
	fmt.Fprintf(&conf, birdHead, "10.255.0.9")
	fmt.Fprintf(&conf, birdInside, "core_1", "10.0.1.2", coreASN, "10.0.1.1")
	fmt.Fprintf(&conf, birdInside, "core_2", "10.0.2.2", coreASN, "10.0.2.1")
	return newBIRD(subscribers, conf.String())
}

func (*bird) label() string         { return "BIRD" }
func (b *bird) daemons() []*process { return []*process{b.process} }

// connect opens the conversation that birdc has.
func (b *bird) connect() error {
	if b.conn != nil {
		_ = b.conn.Close() // the router may be gone
		b.conn = nil
	}
	conn, err := net.Dial("unix", b.control)
	if err != nil {
		return err
	}
	b.conn, b.in = conn, bufio.NewReader(conn)
	_, err = b.reply()
	return err
}

// reply reads up to the line that ends a reply: a code and a blank.
func (b *bird) reply() (string, error) {
	if err := b.conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	var out strings.Builder
	for {
		line, err := b.in.ReadString('\n')
		if err != nil {
			return "", err
		}
		out.WriteString(line)
		if len(line) > 4 && line[4] == ' ' && line[0] >= '0' && line[0] <= '9' {
			return out.String(), nil
		}
	}
}

// birdPath is the first line of a path: the protocol that brought it, and whether it is the best one.
var birdPath = regexp.MustCompile(`unicast \[(\w+) [^]]*\]( \*)?`)

func (b *bird) ask(prefix string) (view, error) {
	if b.conn == nil {
		return view{}, net.ErrClosed
	}
	if _, err := fmt.Fprintf(b.conn, "show route %s all\n", prefix); err != nil {
		return view{}, err
	}
	text, err := b.reply()
	if err != nil {
		return view{}, err
	}
	v := view{paths: map[string]int{}}
	from := ""
	for line := range strings.Lines(text) {
		if m := birdPath.FindStringSubmatch(line); m != nil {
			from = strings.ReplaceAll(m[1], "_", "-")
			if m[2] != "" {
				v.best = from
			}
			if strings.HasPrefix(from, "node-") {
				v.paths[from] = announced
			}
		}
		if strings.Contains(line, "BGP.community:") && strings.Contains(line, "(65535,0)") && v.paths[from] == announced {
			v.paths[from] = demoted
		}
	}
	return v, nil
}

const frrConfig = `log file %[1]s/bgpd.log
router bgp %[2]d
 bgp router-id 10.255.0.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 timers bgp 3 9
`

// frr is FRR's bgpd with its zebra.
type frr struct {
	bgpd, zebra *process
	vty         string
	conn        net.Conn
	in          *bufio.Reader
}

// coreFRR is the second router of the core.
func coreFRR(export bool) (*frr, error) {
	home := filepath.Join(dir, "frr")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, err
	}
	// FRR gives up root for a user of its own, who must be able to write here.
	if err := os.Chmod(home, 0o777); err != nil {
		return nil, err
	}
	var conf, family strings.Builder
	fmt.Fprintf(&conf, frrConfig, home, coreASN)
	for _, inside := range []string{"10.0.3.1", "10.0.2.2"} {
		fmt.Fprintf(&conf, " neighbor %s remote-as %d\n neighbor %[1]s timers connect 1\n", inside, coreASN)
		fmt.Fprintf(&family, "  neighbor %s activate\n  neighbor %[1]s next-hop-self\n", inside)
	}
	for site := 1; site <= sites; site++ {
		node := nodeAt(site, 2)
		fmt.Fprintf(&conf, " neighbor %s remote-as %d\n neighbor %[1]s passive\n neighbor %[1]s advertisement-interval 0\n", node, nodeASN)
		fmt.Fprintf(&family, "  neighbor %s activate\n", node)
		if !export {
			fmt.Fprintf(&family, "  neighbor %s route-map nothing out\n", node)
		}
	}
	fmt.Fprintf(&conf, " address-family ipv4 unicast\n%s exit-address-family\nroute-map nothing deny 10\n", &family)
	file := filepath.Join(home, "bgpd.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o644); err != nil {
		return nil, err
	}
	empty := filepath.Join(home, "zebra.conf")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		return nil, err
	}
	socket := filepath.Join(home, "zserv")
	f := &frr{vty: filepath.Join(home, "bgpd.vty")}
	f.zebra = &process{name: "zebra", namespace: core2, path: "zebra",
		args: []string{"-P", "0", "-f", empty, "-i", filepath.Join(home, "zebra.pid"), "--vty_socket", home, "-z", socket}}
	f.bgpd = &process{name: "bgpd", namespace: core2, path: "bgpd",
		args: []string{"-S", "-P", "0", "-f", file, "-i", filepath.Join(home, "bgpd.pid"), "--vty_socket", home, "-z", socket}}
	if err := f.zebra.start(); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("zebra has no socket after 10s:\n%s", f.zebra.tail(10))
		}
		time.Sleep(5 * time.Millisecond)
	}
	return f, f.bgpd.start()
}

func (*frr) label() string         { return "FRR" }
func (f *frr) daemons() []*process { return []*process{f.bgpd, f.zebra} }

// connect opens the conversation that vtysh has.
func (f *frr) connect() error {
	if f.conn != nil {
		_ = f.conn.Close() // the router may be gone
		f.conn = nil
	}
	conn, err := net.Dial("unix", f.vty)
	if err != nil {
		return err
	}
	f.conn, f.in = conn, bufio.NewReader(conn)
	_, err = f.command("enable")
	return err
}

// command sends one command; a reply ends with three NULs and a result code.
func (f *frr) command(text string) (string, error) {
	if err := f.conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := f.conn.Write(append([]byte(text), 0)); err != nil {
		return "", err
	}
	var out []byte
	for {
		b, err := f.in.ReadByte()
		if err != nil {
			return "", err
		}
		out = append(out, b)
		if n := len(out); n >= 4 && out[n-4] == 0 && out[n-3] == 0 && out[n-2] == 0 {
			return string(out[:n-4]), nil
		}
	}
}

func (f *frr) ask(prefix string) (view, error) {
	if f.conn == nil {
		return view{}, net.ErrClosed
	}
	text, err := f.command("show bgp ipv4 unicast " + prefix + " json")
	if err != nil {
		return view{}, err
	}
	var route struct {
		Paths []struct {
			Peer struct {
				ID string `json:"peerId"`
			} `json:"peer"`
			Best struct {
				Overall bool `json:"overall"`
			} `json:"bestpath"`
			Community struct {
				Text string `json:"string"`
			} `json:"community"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(text), &route); err != nil {
		return view{}, fmt.Errorf("bgpd said %q: %w", text, err)
	}
	v := view{paths: map[string]int{}}
	for _, p := range route.Paths {
		from := core1
		for site := 1; site <= sites; site++ {
			if p.Peer.ID == nodeAt(site, 2) {
				from = nodeSpace(site)
				v.paths[from] = announced
				if strings.Contains(p.Community.Text, "graceful-shutdown") {
					v.paths[from] = demoted
				}
			}
		}
		if p.Best.Overall {
			v.best = from
		}
	}
	return v, nil
}
