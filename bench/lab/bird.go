package lab

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const birdHead = `log stderr all;
router id %s;
protocol device {
	scan time 1;
}
`

const birdKernel = `protocol kernel {
	%s {
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
	%[5]s {
		import all;
		export where source = RTS_BGP;
		next hop self;
		gateway direct;
	};
}
`

// birdOutside is a session with a node: MD5 and GTSM, as docs/anycast.md has it.
const birdOutside = `protocol bgp %s {
	local %s as %d;
	neighbor %s as %d;
	passive yes;
	hold time 9;
	error wait time 1, 10;
	password "%s";
	ttl security yes;
	%s {
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
func coreBIRD(sites int, export bool) (*bird, error) {
	var conf strings.Builder
	fmt.Fprintf(&conf, birdHead, "10.255.0.1")
	to := "none"
	if export {
		to = "all"
	}
	for _, f := range families {
		fmt.Fprintf(&conf, birdKernel, f.channel)
		fmt.Fprintf(&conf, birdInside, "core_2"+f.suffix, f.inside(linkCore, 1), coreASN, f.inside(linkCore, 2), f.channel)
		fmt.Fprintf(&conf, birdInside, "subscribers"+f.suffix, f.inside(linkSubscribers1, 1), coreASN, f.inside(linkSubscribers1, 2), f.channel)
		for site := 1; site <= sites; site++ {
			fmt.Fprintf(&conf, birdOutside, fmt.Sprintf("node_%d%s", site, f.suffix), f.coreAt(site, 1), coreASN, f.nodeAt(site, 1), nodeASN,
				sessionSecret, f.channel, to)
		}
	}
	return newBIRD(core1, conf.String())
}

// subscriberBIRD is the router of the subscribers: it learns from both routers of the core.
func subscriberBIRD() (*bird, error) {
	var conf strings.Builder
	fmt.Fprintf(&conf, birdHead, "10.255.0.9")
	for _, f := range families {
		fmt.Fprintf(&conf, birdKernel, f.channel)
		fmt.Fprintf(&conf, birdInside, "core_1"+f.suffix, f.inside(linkSubscribers1, 2), coreASN, f.inside(linkSubscribers1, 1), f.channel)
		fmt.Fprintf(&conf, birdInside, "core_2"+f.suffix, f.inside(linkSubscribers2, 2), coreASN, f.inside(linkSubscribers2, 1), f.channel)
	}
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
			from = strings.ReplaceAll(strings.TrimSuffix(m[1], families[1].suffix), "_", "-")
			if m[2] != "" {
				v.best = from
			}
			v.paths[from] = announced
		}
		if strings.Contains(line, "BGP.community:") && strings.Contains(line, "(65535,0)") && v.paths[from] == announced {
			v.paths[from] = demoted
		}
	}
	return v, nil
}
