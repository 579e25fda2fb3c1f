package lab

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

func linkCut(p *play) error {
	since := time.Now()
	if err := ip("", "-n", core1, "link", "set", nodeSpace(1), "down"); err != nil {
		return err
	}
	first, second := p.watchers[0], p.watchers[1]
	if err := p.stepAt(first, "DNS turns to another link", dnsPrefix, since, movedFrom(1), time.Second); err != nil {
		return err
	}
	if err := p.stepAt(first, "RADIUS turns to another link", radiusPrefix, since, movedFrom(1), time.Second); err != nil {
		return err
	}
	p.lossFor(radiusService, 0, "what was on the link")
	p.lossFor(dnsService, 0, "what was on the link, and IPv6 for a second after it is up: Linux waits so long before it answers neighbour discovery on it, while the node's default route uses it again at once")
	for _, t := range p.traffic {
		if t.name == overIPv6 {
			t.may += uint64(1.2 * t.rate)
		}
	}
	if err := p.pause(2 * time.Second); err != nil {
		return err
	}
	up := time.Now()
	if err := ip("", "-n", core1, "link", "set", nodeSpace(1), "up"); err != nil {
		return err
	}
	// The node may not have seen it: its hold time has to pass first.
	if err := p.stepAt(first, "DNS route of node 1 back", dnsPrefix, up, is(1, announced), 9*time.Second+reconnect); err != nil {
		return err
	}
	for _, s := range services {
		r := row{what: s.name + " route of node 1 gone", at: second.label(), text: "never"}
		if _, ok := second.some(s.prefix, since, not(1, announced)); ok {
			r.text, r.violation = "it was", true
		}
		p.rows = append(p.rows, r)
	}
	return nil
}

func routerRestarted(p *play) error {
	since := time.Now()
	if err := p.bird.kill(); err != nil {
		return err
	}
	if err := p.eventually("the subscribers' router turns to the second router", 5*time.Second, func() bool {
		return p.subscribed(dnsPrefix, func(v view) bool { return v.best == core2 })
	}); err != nil {
		return err
	}
	moved := time.Since(since)
	const bound = time.Second // of the routers among themselves
	p.rows = append(p.rows, row{what: "the subscribers turn to the second router", at: "BIRD", took: moved, bound: bound, violation: moved > bound})
	for _, s := range services {
		p.lossFor(s, moved, "what was on its way through the first router")
	}
	if err := p.pause(time.Second); err != nil {
		return err
	}
	again := time.Now()
	if err := p.bird.start(); err != nil {
		return err
	}
	first, second := p.watchers[0], p.watchers[1]
	for _, s := range services {
		for site := 1; site <= p.sites; site++ {
			what := fmt.Sprintf("%s route of node %d back", s.name, site)
			if err := p.stepAt(first, what, s.prefix, again, is(site, announced), reconnect); err != nil {
				return err
			}
		}
		r := row{what: s.name + " route of node 1 gone", at: second.label(), text: "never"}
		if _, ok := second.some(s.prefix, since, not(1, announced)); ok {
			r.text, r.violation = "it was", true
		}
		p.rows = append(p.rows, r)
	}
	return p.pause(2 * time.Second)
}

// malignNeighbor is a third neighbor of node 1.
var malignNeighbor = fmt.Sprintf("    - {name: malign, address: %s, asn: 64666, source: %s, connect_retry: 1s}\n", server(1, 11), server(1, 1))

// malign opens each session properly and then sends a message of a type that does not exist, which makes GoBGP v3
// panic.
func malign(l net.Listener) {
	message := func(kind byte, body string) string {
		return strings.Repeat("\xff", 16) + string([]byte{0, byte(19 + len(body)), kind}) + body
	}
	open := message(1, "\x04\xfc\x9a\x00\x09\x0a\xff\x42\x42\x08\x02\x06\x01\x04\x00\x01\x00\x01") // AS 64666, hold time 9 s, IPv4 unicast
	keepalive, bad := message(4, ""), message(200, "")
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			for _, m := range []string{open, keepalive, bad} {
				if _, err := io.WriteString(conn, m); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond) // each is to be read by itself
			}
			_, _ = io.Copy(io.Discard, conn) // until it is closed
		}()
	}
}

func malformedBGP(p *play) error {
	since := time.Now()
	var listener net.Listener
	err := within(serverSpace(1), func() (err error) {
		listener, err = net.Listen("tcp", server(1, 11)+":179")
		return err
	})
	if err != nil {
		return err
	}
	defer listener.Close()
	go malign(listener)
	if err := p.noted("the speaker's death is told", since, 20*time.Second, func() bool {
		s, err := p.nodes[1].status()
		if err != nil {
			return false
		}
		for _, n := range s.BGP.Neighbors {
			if n.Name == "malign" && (strings.Contains(n.LastError, "panic") || strings.Contains(n.LastError, "died")) {
				return true
			}
		}
		return false
	}); err != nil {
		return err
	}
	if err := p.noted("an alarm says that it dies again and again", since, time.Minute, func() bool {
		s, err := p.nodes[1].status()
		if err != nil {
			return false
		}
		for _, a := range s.Alarms {
			if a.Name == "speaker-failing" && strings.Contains(a.Text, "malign") {
				return true
			}
		}
		return false
	}); err != nil {
		return err
	}
	p.stood(1, since)
	return nil
}
