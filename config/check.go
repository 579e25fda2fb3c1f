package config

import (
	"fmt"

	"sereno/bgp"
)

// checker runs every check that looks at values: the sections' own, and those
// that need more than one section.
type checker struct {
	config  *Config
	decoder *decoder
	report  *Report
	root    Position
	said    map[string]bool
	doubts  map[string]bool // answers of doubtful
}

func (k *checker) check() {
	k.said, k.doubts = map[string]bool{}, map[string]bool{}
	k.sections()
	k.names()
	k.pools()
	k.references()
	k.clients()
	k.anycast()
	k.listeners()
}

// fail reports an error at a path, unless the path has one already: a value
// that could not be read would only be blamed a second time.
func (k *checker) fail(path, message string) {
	if k.said[path] || k.decoder.known(path) || k.decoder.holed[path] {
		return
	}
	k.said[path] = true
	k.report.Errors = append(k.report.Errors, Problem{Position: k.decoder.where(path, k.root), Key: path, Message: message})
}

// at is the report function of the section at a path.
func (k *checker) at(path string) func(key, message string) {
	return func(key, message string) { k.fail(join(path, key), message) }
}

// sections lets each package check its own.
func (k *checker) sections() {
	c := k.config
	c.Node.Validate(k.at("node"))
	c.Log.Validate(k.at("log"))
	c.Admin.Validate(k.at("admin"))
	for i := range c.Pools {
		p, path := &c.Pools[i], fmt.Sprintf("pools[%d]", i)
		p.Config.Validate(p.Protocol, k.at(path))
		p.Health.Validate(p.Protocol, k.at(path+".health"))
		for j := range p.Backends {
			b, report := &p.Backends[j], k.at(fmt.Sprintf("%s.backends[%d]", path, j))
			b.BackendConfig.Validate(p.Protocol, report)
			b.RADIUS.Validate(p.Protocol, report)
		}
	}
	for i := range c.DNS {
		c.DNS[i].Validate(k.at(fmt.Sprintf("dns[%d]", i)))
	}
	for i := range c.RADIUS {
		c.RADIUS[i].Validate(k.at(fmt.Sprintf("radius[%d]", i)))
	}
	c.BGP.Validate(k.at("bgp"))
	for i := range c.Anycast {
		c.Anycast[i].Validate(k.at(fmt.Sprintf("anycast[%d]", i)))
	}
	bgp.ValidateTogether(&c.BGP, c.Anycast, k.fail)
	c.Availability.Validate(k.at("availability"))
}

// named is one thing with a name, and the path of its section.
type named struct{ path, name string }

// services lists the DNS services, then the RADIUS services.
func (k *checker) services() []named {
	var out []named
	for i, s := range k.config.DNS {
		out = append(out, named{fmt.Sprintf("dns[%d]", i), s.Name})
	}
	for i, s := range k.config.RADIUS {
		out = append(out, named{fmt.Sprintf("radius[%d]", i), s.Name})
	}
	return out
}

// poolNames lists the pools.
func (k *checker) poolNames() []named {
	var out []named
	for i, p := range k.config.Pools {
		out = append(out, named{fmt.Sprintf("pools[%d]", i), p.Name})
	}
	return out
}

// names checks that everything that is referred to by name has one of its own.
func (k *checker) names() {
	c := k.config
	var neighbors, anycast []named
	for i, p := range c.Pools {
		path := fmt.Sprintf("pools[%d]", i)
		var backends []named
		for j, b := range p.Backends {
			backends = append(backends, named{fmt.Sprintf("%s.backends[%d]", path, j), b.Name})
		}
		k.unique(backends, "a backend needs a name")
	}
	for i, n := range c.BGP.Neighbors {
		neighbors = append(neighbors, named{fmt.Sprintf("bgp.neighbors[%d]", i), n.Name})
	}
	for i, a := range c.Anycast {
		anycast = append(anycast, named{fmt.Sprintf("anycast[%d]", i), a.Name})
	}
	k.unique(k.poolNames(), "a pool needs a name")
	k.unique(k.services(), "a service needs a name")
	k.unique(neighbors, "a neighbor needs a name")
	k.unique(anycast, "an anycast entry needs a name")
	for i, s := range c.RADIUS {
		var clients []named
		for j, cl := range s.Clients {
			clients = append(clients, named{fmt.Sprintf("radius[%d].clients[%d]", i, j), cl.Name})
		}
		k.unique(clients, "a client needs a name")
	}
}

// unique checks names: there, well formed, and each only once.
func (k *checker) unique(list []named, missing string) {
	first := make(map[string]string, len(list))
	for _, n := range list {
		path := n.path + ".name"
		switch {
		case n.name == "":
			k.fail(path, missing)
			continue
		case badName(n.name) != "":
			k.fail(path, badName(n.name))
		case first[n.name] != "":
			k.fail(path, fmt.Sprintf("the name %q is taken by %s", n.name, first[n.name]))
		}
		if first[n.name] == "" {
			first[n.name] = n.path
		}
	}
}
