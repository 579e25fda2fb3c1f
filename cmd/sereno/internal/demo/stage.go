package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sereno/bench/load"
	"sereno/bench/stub"
	"sereno/cmd/sereno/internal/admin"
)

// Traffic of the demo's clients, in requests a second.
const (
	dnsRate    = 1000
	radiusRate = 300
)

// stage is everything that runs: backends, router, nodes, clients.
type stage struct {
	dir       string
	layout    *layout
	resolvers map[string]*stub.Resolver
	servers   map[string]*stub.RADIUS
	books     *stub.Books // of all RADIUS servers: they share a database
	router    *child
	routes    *routes
	nodes     []*child
	dns       *load.DNS
	radius    *load.RADIUS
	stop      context.CancelFunc // of the clients
	clients   sync.WaitGroup
	dnsEnd    load.Books
	radiusEnd load.Books
	failed    chan error // a part ended that should not have
}

// newStage starts backends, router and nodes; the clients wait for startClients. On an error everything is closed.
func newStage() (_ *stage, err error) {
	s := &stage{
		resolvers: map[string]*stub.Resolver{}, servers: map[string]*stub.RADIUS{}, books: stub.NewBooks(),
		failed: make(chan error, 8), stop: func() {},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.layout, err = newLayout(); err != nil {
		return s, err
	}
	if s.dir, err = os.MkdirTemp("", "sereno-demo-"); err != nil {
		return s, fmt.Errorf("making the demo's directory: %w", err)
	}
	if err := s.startBackends(); err != nil {
		return s, err
	}
	if err := s.startRouter(); err != nil {
		return s, err
	}
	for _, site := range sites {
		if err := s.startNode(site); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *stage) startBackends() (err error) {
	for _, site := range sites {
		for _, name := range site.resolvers {
			s.resolvers[name], err = stub.NewResolver(stub.ResolverConfig{Addr: s.layout.at(backendHost(name), dnsPort)})
			if err != nil {
				delete(s.resolvers, name)
				return err
			}
		}
		for _, name := range site.servers {
			host := backendHost(name)
			s.servers[name], err = stub.NewRADIUS(stub.RADIUSConfig{
				Name: name, Auth: s.layout.at(host, authPort), Acct: s.layout.at(host, acctPort),
				Secret: []byte(backendSecret), Demand: true, Books: s.books,
			})
			if err != nil {
				delete(s.servers, name)
				return err
			}
		}
	}
	return nil
}

func (s *stage) startRouter() error {
	siteOf := map[string]int{}
	for _, site := range sites {
		siteOf[s.layout.addr(nodeHost(site.number)).String()] = site.number
	}
	s.routes = newRoutes(siteOf)
	router, out, err := startChild(s.dir, "router", true, "bgp-router",
		"--listen", s.layout.at(routerHost, bgpPort).String(), "--asn", fmt.Sprint(routerASN), "--router-id", routerID, "--peer-asn", fmt.Sprint(nodeASN))
	if err != nil {
		return err
	}
	s.router = router
	go func() {
		s.routes.follow(out)
		router.wait()
		s.ended(router)
	}()
	return nil
}

func (s *stage) startNode(site site) error {
	dir := filepath.Join(s.dir, fmt.Sprintf("site-%d", site.number+1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("making the node's directory: %w", err)
	}
	file := filepath.Join(dir, "sereno.yaml")
	if err := os.WriteFile(file, []byte(s.layout.config(site, dir)), 0o600); err != nil {
		return fmt.Errorf("writing the node's configuration: %w", err)
	}
	node, _, err := startChild(dir, "node", false, "run", "-c", file)
	if err != nil {
		return err
	}
	s.nodes = append(s.nodes, node)
	go func() {
		<-node.done
		s.ended(node)
	}()
	return nil
}

func (s *stage) ended(c *child) {
	select {
	case s.failed <- c.failure():
	default:
	}
}

// startClients starts the traffic. It goes where the routes lead.
func (s *stage) startClients() (err error) {
	dnsConfig := load.DNSConfig{
		Common: load.Common{Rate: dnsRate, Timeout: 6 * time.Second, Resend: time.Second, Tries: 5},
		Names:  500, Zipf: 1, New: 0.4,
	}
	radiusConfig := load.RADIUSConfig{
		Common: load.Common{Rate: radiusRate, Timeout: 12 * time.Second, Resend: 3 * time.Second, Tries: 3, Source: netip.MustParseAddr("127.0.0.1")},
		Secret: []byte(nasSecret), PAP: 2, CHAP: 1, Acct: 3, NAS: "bras-1",
	}
	for _, site := range sites {
		dnsConfig.Targets = append(dnsConfig.Targets, s.layout.at(dnsHost(site.number), dnsPort))
		host := radiusHost(site.number)
		radiusConfig.Targets = append(radiusConfig.Targets, load.RADIUSTarget{Auth: s.layout.at(host, authPort), Acct: s.layout.at(host, acctPort)})
	}
	if s.dns, err = load.NewDNS(dnsConfig); err != nil {
		return err
	}
	if s.radius, err = load.NewRADIUS(radiusConfig); err != nil {
		return err
	}
	s.routes.onChange(func(c change) {
		switch c.Prefix {
		case dnsPrefix:
			s.dns.Use(c.Site)
		case radiusPrefix:
			s.radius.Use(c.Site)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	run := func(run func(context.Context) (load.Books, error), end *load.Books) {
		s.clients.Go(func() {
			books, err := run(ctx)
			*end = books
			if err != nil {
				s.failed <- err
			}
		})
	}
	run(s.dns.Run, &s.dnsEnd)
	run(s.radius.Run, &s.radiusEnd)
	return nil
}

// traffic gives the clients' books as they stand.
func (s *stage) traffic() (dns, radius load.Books) { return s.dns.Books(), s.radius.Books() }

// stopClients ends the traffic, waits for the last answers, and gives the books and how many acknowledged
// accounting records no server has.
func (s *stage) stopClients() (dns, radius load.Books, missing uint64) {
	s.stop()
	s.clients.Wait()
	for _, r := range s.radius.Acknowledged() {
		if s.books.Count(r) == 0 {
			missing++
		}
	}
	return s.dnsEnd, s.radiusEnd, missing
}

// set changes a backend's mode.
func (s *stage) set(backend string, f stub.Fault) error {
	if r, ok := s.resolvers[backend]; ok {
		return r.Set(stub.Mode{Fault: f})
	}
	if r, ok := s.servers[backend]; ok {
		return r.Set(stub.Mode{Fault: f})
	}
	return fmt.Errorf("no backend %q: there are %s", backend, strings.Join(s.backends(), ", "))
}

// backends are the names that set takes.
func (s *stage) backends() []string {
	var names []string
	for _, site := range sites {
		names = append(append(names, site.resolvers...), site.servers...)
	}
	slices.Sort(names)
	return names
}

// route gives the best route to a prefix, at the router.
func (s *stage) route(prefix string) change { return s.routes.to(prefix) }

// changed is closed when the router's table has changed.
func (s *stage) changed() <-chan struct{} { return s.routes.next() }

// trouble tells of a part that has ended and should not have.
func (s *stage) trouble() <-chan error { return s.failed }

// listening says whether the router accepts sessions.
func (s *stage) listening() bool { return s.routes.listening() }

// status asks a site's node.
func (s *stage) status(site int) (*admin.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.page(site)+"api/v1/status", nil)
	if err != nil {
		return nil, err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	var status admin.Status
	if err := json.NewDecoder(io.LimitReader(reply.Body, 1<<20)).Decode(&status); err != nil {
		return nil, fmt.Errorf("reading the status of site %d: %w", site+1, err)
	}
	return &status, nil
}

// page is the address of a site's HTTP server, with a slash at its end.
func (s *stage) page(site int) string {
	return "http://" + s.layout.at(nodeHost(site), httpPort).String() + "/"
}

// socket is the path of a site's admin socket.
func (s *stage) socket(site int) string {
	return filepath.Join(s.dir, fmt.Sprintf("site-%d", site+1), "admin.sock")
}

// close ends everything, nodes before the router and backends after both, and removes the directory.
func (s *stage) close() error {
	s.stop()
	s.clients.Wait()
	var wg sync.WaitGroup
	for _, node := range s.nodes {
		wg.Go(func() { node.stop(5 * time.Second) })
	}
	wg.Wait()
	if s.router != nil {
		s.router.stop(2 * time.Second)
	}
	var err error
	for _, r := range s.resolvers {
		err = errors.Join(err, r.Close())
	}
	for _, r := range s.servers {
		err = errors.Join(err, r.Close())
	}
	http.DefaultClient.CloseIdleConnections()
	if s.layout != nil {
		err = errors.Join(err, s.layout.close())
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}
