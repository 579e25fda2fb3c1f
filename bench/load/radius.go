package load

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sereno/bench/stub"
)

// RADIUSTarget is where one server, or one front, listens.
type RADIUSTarget struct{ Auth, Acct netip.AddrPort }

// RADIUSConfig says what is sent to whom. Zero fields take their defaults.
type RADIUSConfig struct {
	Common
	Targets  []RADIUSTarget // the first gets everything, until Use names another
	Secret   []byte         // the NAS's
	PAP      int            // parts of the mix that are logins with a password,
	CHAP     int            // with CHAP, half of them without CHAP-Challenge,
	MSCHAP   int            // with MS-CHAPv2,
	Acct     int            // and accounting records. Default: 1, 1, 0, 0
	Interims int            // Interim-Updates of a session, between its Start and its Stop; 1, below 0: none
	Users    int            // how many different subscribers, of whom package stub knows what becomes of them; 1000
	List     []Subscriber   // instead of them
	Reject   int            // every such login is of a user who is rejected; 0: none
	Real     bool           // the servers know the subscribers, not package stub: what an Access-Accept gives is not looked at
	Lax      bool           // replies need no Message-Authenticator (a server from before 2024)
	NAS      string         // NAS-Identifier; "load"
}

// RADIUS is a NAS with many subscribers: it logs in and accounts, and checks the replies. Its methods are safe for
// concurrent use.
type RADIUS struct {
	fleet
	p []*subscribers
}

// mostSockets bounds the source ports that nobody asked for: a million requests that wait for an answer are enough.
const mostSockets = 4096

// NewRADIUS opens the sockets. Targets that are not of this host are errors.
func NewRADIUS(c RADIUSConfig) (*RADIUS, error) {
	c.Timeout = orDefault(c.Timeout, 10*time.Second)
	c.Tries = orDefault(c.Tries, 3)
	c.Users = orDefault(c.Users, 1000)
	c.NAS = orDefault(c.NAS, "load")
	c.Interims = max(orDefault(c.Interims, 1), 0)
	if c.PAP+c.CHAP+c.MSCHAP+c.Acct == 0 {
		c.PAP, c.CHAP = 1, 1
	}
	if c.PAP < 0 || c.CHAP < 0 || c.MSCHAP < 0 || c.Acct < 0 || c.Users < 1 || c.Reject < 0 || c.Users > maxUsers || len(c.List) > maxUsers {
		return nil, fmt.Errorf("parts of the mix must not be negative, nor the number of users above %d", maxUsers)
	}
	if len(c.Secret) == 0 {
		return nil, errors.New("a secret is needed")
	}
	// 256 identifiers for each source port: enough that none comes again before its request is over.
	c.Sockets = orDefault(c.Sockets, min(max(8, int(max(c.Rate, c.MaxRate, float64(c.Window))*c.Timeout.Seconds()/200)), mostSockets))
	var targets [][]netip.AddrPort
	for _, t := range c.Targets {
		if c.Acct > 0 && !t.Acct.IsValid() {
			return nil, errors.New("the mix has accounting, and a target has no address for it")
		}
		targets = append(targets, []netip.AddrPort{t.Auth, t.Acct})
	}
	accepted, rejected := c.accounts()
	r := &RADIUS{}
	var err error
	r.fleet, err = newFleet(c.Common, func(common Common) (*generator, error) {
		own := c
		own.Common = common
		p := newSubscribers(own, accepted, rejected)
		g, err := newGenerator(common, p, targets)
		if err != nil {
			return nil, err
		}
		p.authenticators = make([][16]byte, len(g.slots))
		r.p = append(r.p, p)
		return g, nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Sessions names the accounting sessions of this run: what their Acct-Session-Ids begin with. A dash and a number follow.
func (r *RADIUS) Sessions() string {
	var runs []string
	for _, p := range r.p {
		runs = append(runs, p.run)
	}
	return strings.Join(runs, ", ")
}

// Acknowledged gives the accounting records that got an Accounting-Response: a server must have each of them.
func (r *RADIUS) Acknowledged() []stub.Record {
	var records []stub.Record
	for _, p := range r.p {
		p.mu.Lock()
		acked := append([]uint64(nil), p.acked...)
		p.mu.Unlock()
		for _, n := range acked {
			records = append(records, stub.Record{Session: string(p.session(nil, n)), Status: p.status(n)})
		}
	}
	return records
}
