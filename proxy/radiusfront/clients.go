package radiusfront

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"sereno/proxy/radwire"
)

// maxSecrets is how many secrets a client may have at once: the old and the
// new one of a rotation (R15).
const maxSecrets = 2

// clientState is what all workers share about a client, and what a reload
// keeps. Its key is the client's prefix.
type clientState struct {
	inFlight atomic.Int64
	fitting  fitting
	requests atomic.Uint64 // every request that came from its addresses
	badAuth  atomic.Uint64 // authenticators and Message-Authenticators that did not verify (R10)
	unsigned atomic.Uint64 // Access-Requests without Message-Authenticator: who would break under `require`
}

// client is a client of one worker in one configuration.
type client struct {
	*clientState
	name        string
	prefix      netip.Prefix
	posture     posture
	maxInFlight int64
	coaPort     uint16
	secrets     []*radwire.Secret
}

// likely is the number of the secret that the address probably uses.
func (c *client) likely(a netip.Addr) int {
	if len(c.secrets) == 1 {
		return 0
	}
	return int(c.fitting.of(a, !c.prefix.IsSingleIP())) % len(c.secrets)
}

// fits notes the secret that a request from the address verified with.
func (c *client) fits(a netip.Addr, n int) { c.fitting.set(a, !c.prefix.IsSingleIP(), int32(n)) }

// posture is what is asked of a peer's Message-Authenticators (R13).
type posture uint8

const (
	postureAuto posture = iota
	postureRequire
	postureAccept
)

func parsePosture(s string) (posture, bool) {
	switch s {
	case "auto", "":
		return postureAuto, true
	case "require":
		return postureRequire, true
	case "accept":
		return postureAccept, true
	}
	return postureAuto, false
}

// parseClientAddress reads a client's address: a prefix, or an address that
// stands for itself.
func parseClientAddress(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Masked() != p {
			return netip.Prefix{}, fmt.Errorf("%q has bits set after the prefix; write %s", s, p.Masked())
		}
		return p, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is neither an IP address nor a prefix", s)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// clientTable finds a client by the source of a packet: the longest prefix
// wins. It belongs to one worker and is not changed after it was built.
type clientTable struct {
	exact    map[netip.Addr]*client
	prefixes []clientPrefixes // longest first
	all      []*client        // in the order of the configuration
}

// clientPrefixes are the clients whose prefix has one length in one family.
type clientPrefixes struct {
	bits    int
	is4     bool
	clients map[netip.Prefix]*client
}

// lookup is the client that owns the address, nil if none does.
func (t *clientTable) lookup(a netip.Addr) *client {
	if c := t.exact[a]; c != nil {
		return c
	}
	for i := range t.prefixes {
		p := &t.prefixes[i]
		if p.is4 != a.Is4() {
			continue
		}
		masked, err := a.Prefix(p.bits)
		if err != nil {
			continue
		}
		if c := p.clients[masked]; c != nil {
			return c
		}
	}
	return nil
}

// newClientTable builds one worker's table. states holds what is shared and
// kept, by prefix.
func newClientTable(configs []ClientConfig, states map[netip.Prefix]*clientState) (*clientTable, error) {
	t := &clientTable{exact: map[netip.Addr]*client{}}
	byLength := map[int]*clientPrefixes{}
	for i := range configs {
		cfg := &configs[i]
		prefix, err := parseClientAddress(cfg.Address)
		if err != nil {
			return nil, fmt.Errorf("client %q: %w", cfg.Name, err)
		}
		c := &client{clientState: states[prefix], name: cfg.Name, prefix: prefix, maxInFlight: int64(cfg.MaxInFlight), coaPort: uint16(cfg.CoAPort)}
		c.posture, _ = parsePosture(cfg.MessageAuthenticator)
		if len(cfg.Secret) == 0 || len(cfg.Secret) > maxSecrets {
			return nil, fmt.Errorf("client %q has %d secrets, not 1 or 2", cfg.Name, len(cfg.Secret))
		}
		for _, s := range cfg.Secret {
			c.secrets = append(c.secrets, radwire.NewSecret([]byte(s)))
		}
		t.all = append(t.all, c)
		a := prefix.Addr()
		if prefix.IsSingleIP() {
			t.exact[a] = c
			continue
		}
		key := prefix.Bits()
		if !a.Is4() {
			key += 1000
		}
		if byLength[key] == nil {
			byLength[key] = &clientPrefixes{bits: prefix.Bits(), is4: a.Is4(), clients: map[netip.Prefix]*client{}}
		}
		byLength[key].clients[prefix] = c
	}
	for _, p := range byLength {
		t.prefixes = append(t.prefixes, *p)
	}
	slices.SortFunc(t.prefixes, func(a, b clientPrefixes) int { return b.bits - a.bits })
	return t, nil
}
