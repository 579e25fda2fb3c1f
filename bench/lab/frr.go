package lab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const frrConfig = `log file %[1]s/bgpd.log
router bgp %[2]d
 bgp router-id 10.255.0.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 timers bgp 3 9
`

// frrOutside is a session with a node: MD5 and GTSM, as docs/anycast.md has it.
const frrOutside = ` neighbor %[1]s remote-as %[2]d
 neighbor %[1]s passive
 neighbor %[1]s password %[3]s
 neighbor %[1]s ttl-security hops 1
 neighbor %[1]s advertisement-interval 0
`

// frr is FRR's bgpd with its zebra.
type frr struct {
	bgpd, zebra *process
	vty         string
	conn        net.Conn
	in          *bufio.Reader
}

// coreFRR is the second router of the core.
func coreFRR(sites int, export bool) (*frr, error) {
	home := filepath.Join(dir, "frr")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, err
	}
	// FRR gives up root for a user of its own, who must be able to write here.
	if err := os.Chmod(home, 0o777); err != nil {
		return nil, err
	}
	var conf, channels strings.Builder
	fmt.Fprintf(&conf, frrConfig, home, coreASN)
	for _, f := range families {
		fmt.Fprintf(&channels, " address-family %s unicast\n", f.channel)
		for _, neighbor := range []string{f.inside(linkCore, 1), f.inside(linkSubscribers2, 2)} {
			fmt.Fprintf(&conf, " neighbor %s remote-as %d\n neighbor %[1]s timers connect 1\n", neighbor, coreASN)
			fmt.Fprintf(&channels, "  neighbor %s activate\n  neighbor %[1]s next-hop-self\n", neighbor)
		}
		for site := 1; site <= sites; site++ {
			node := f.nodeAt(site, 2)
			fmt.Fprintf(&conf, frrOutside, node, nodeASN, sessionSecret)
			fmt.Fprintf(&channels, "  neighbor %s activate\n", node)
			if !export {
				fmt.Fprintf(&channels, "  neighbor %s route-map nothing out\n", node)
			}
		}
		channels.WriteString(" exit-address-family\n")
	}
	fmt.Fprintf(&conf, "%sroute-map nothing deny 10\n", &channels)
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
	text, err := f.command("show bgp " + familyOf(prefix).channel + " unicast " + prefix + " json")
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
		for site := 1; site <= maxSites; site++ {
			if p.Peer.ID == familyOf(prefix).nodeAt(site, 2) {
				from = nodeSpace(site)
			}
		}
		v.paths[from] = announced
		if strings.Contains(p.Community.Text, "graceful-shutdown") {
			v.paths[from] = demoted
		}
		if p.Best.Overall {
			v.best = from
		}
	}
	return v, nil
}
