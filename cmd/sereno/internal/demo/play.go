package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"sereno/bench/stub"
)

// newsEvery is how often the player is told how the clients fare.
const newsEvery = 10 * time.Second

// play goes on serving, tells what changes, and takes commands until ctx ends or the player quits.
func (s *story) play(ctx context.Context, in io.Reader, st *stage) error {
	s.title("your turn")
	s.say("The demo goes on until Ctrl-C. Site 1 in a browser: %s", st.page(0))
	s.more("or, in another terminal:")
	s.plain("sereno status --socket %s", st.socket(0))
	s.more("What site 1 can do (with --html FILE a page of charts):")
	s.plain("sereno bench dns --target %s --simulated --search", st.layout.at(dnsHost(0), dnsPort))
	s.plain("sereno bench radius --auth %s --secret %s --simulated --search", st.layout.at(radiusHost(0), authPort), nasSecret)
	s.more("Type a command and Enter (backends: %s):", strings.Join(st.backends(), " "))
	s.more("  kill dns-1       its ports are closed: the kernel refuses")
	s.more("  freeze dns-1     it takes packets and never answers")
	s.more("  fail dns-1       it answers SERVFAIL (a RADIUS server: rejects)")
	s.more("  heal dns-1       it is well again; `heal all` heals all")
	s.more("  routes           where the router sends the clients")
	s.more("  quit             totals, and the end")
	var over atomic.Bool
	defer over.Store(true) // that the routes go with the demo is no news
	st.routes.onChange(func(c change) {
		if !over.Load() {
			s.sayAt(c.At, "router: %s", describe(c))
		}
	})
	commands := make(chan string)
	go func() {
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			select {
			case commands <- lines.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	news := time.NewTicker(newsEvery)
	defer news.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-st.trouble():
			return err
		case line := <-commands:
			if !s.command(line, st) {
				return nil
			}
		case <-news.C:
			s.say("clients, since the last time:")
			s.news(st.traffic())
		}
	}
}

// command does what the player says; false: to quit.
func (s *story) command(line string, st *stage) bool {
	words := strings.Fields(strings.ToLower(line))
	if len(words) == 0 {
		return true
	}
	faults := map[string]stub.Fault{"kill": stub.Closed, "freeze": stub.Silent, "heal": stub.Healthy, "fail": stub.Servfail}
	fault, known := faults[words[0]]
	switch {
	case words[0] == "quit" || words[0] == "q":
		return false
	case words[0] == "routes":
		for _, prefix := range []string{dnsPrefix, radiusPrefix} {
			s.say("router: %s", describe(st.route(prefix)))
		}
	case known && len(words) == 2:
		names := words[1:]
		if fault == stub.Healthy && words[1] == "all" {
			names = st.backends()
		}
		for _, name := range names {
			f := fault
			if f == stub.Servfail && strings.HasPrefix(name, "radius") {
				f = stub.Rejects
			}
			if err := st.set(name, f); err != nil {
				s.say("%v", err)
				return true
			}
			s.say("%s: %s", name, words[0])
		}
	default:
		s.say("not understood: %q (kill, freeze, fail or heal a backend; routes; quit)", line)
	}
	return true
}

// describe tells a route in words.
func describe(c change) string {
	if c.Site < 0 {
		return fmt.Sprintf("no site announces %s: the clients have nowhere to go", c.Prefix)
	}
	return fmt.Sprintf("%s leads to site %d", c.Prefix, c.Site+1)
}
