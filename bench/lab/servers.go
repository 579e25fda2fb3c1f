package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"sereno/bench/internal/servers"
	"sereno/bench/stub"
)

// Secrets of the laboratory.
const (
	nasSecret    = "nas-secret-of-the-laboratory"
	serverSecret = "server-secret-of-the-laboratory"
)

// write writes files into a directory.
func write(into string, files map[string]string) error {
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(into, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// unbound is one resolver of a site: number 1 or 2.
func unbound(site, number int) (*process, error) {
	name := fmt.Sprintf("unbound-%d-%d", site, number)
	addr, err := netip.ParseAddr(server(site, 10+number))
	if err != nil {
		return nil, err
	}
	u := servers.Unbound{Dir: dir, Name: name, Listen: netip.AddrPortFrom(addr, 53), Allow: "10.0.0.0/8"}
	if err := write(dir, u.Files()); err != nil {
		return nil, err
	}
	p := &process{name: name, namespace: serverSpace(site), path: "unbound", args: u.Args()}
	return p, p.start()
}

// freeradius is one RADIUS server of a site: number 1 or 2.
func freeradius(site, number int) (*process, error) {
	name := fmt.Sprintf("freeradius-%d-%d", site, number)
	addr, err := netip.ParseAddr(server(site, 20+number))
	if err != nil {
		return nil, err
	}
	f := servers.FreeRADIUS{Dir: filepath.Join(dir, name), Addr: addr, Auth: 1812, Acct: 1813, Threads: 2, Client: "10.0.0.0/8", Secret: serverSecret}
	if err := write(f.Dir, f.Files()); err != nil {
		return nil, err
	}
	p := &process{name: name, namespace: serverSpace(site), path: "freeradius", args: f.Args()}
	return p, p.start()
}

// resolverStub is a resolver that can be told to fail, in the place of a real one.
func resolverStub(site, number int) (*stub.Resolver, error) {
	var r *stub.Resolver
	err := within(serverSpace(site), func() error {
		addr, err := netip.ParseAddrPort(server(site, 10+number) + ":53")
		if err != nil {
			return err
		}
		r, err = stub.NewResolver(stub.ResolverConfig{Addr: addr})
		return err
	})
	return r, err
}
