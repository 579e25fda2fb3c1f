package lab

// Autonomous systems of the laboratory.
const (
	coreASN = 64500
	nodeASN = 64512
)

// sessionSecret is the TCP MD5 key (RFC 2385) of every session between a node and a router.
const sessionSecret = "session-secret-of-the-laboratory"

// view is what a router has on one prefix.
type view struct {
	down  bool           // the router cannot be asked
	best  string         // whom it sends to: the name of its namespace, or "" for nobody
	paths map[string]int // what it has from its neighbors, by the names of their namespaces
}

// What a neighbor said of its path.
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
