package speaker

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	api "github.com/osrg/gobgp/v3/api"

	"sereno/bgp"
)

// keeper holds the session to what is desired: it carries out each new set,
// and every second compares what is desired, what is in the table, what is in
// adj-out and what the session says (A10).
type keeper struct {
	g         *gobgp
	session   *bgp.Session
	desired   map[netip.Prefix]bgp.Route
	report    bgp.Report
	connected bool      // TCP stood at the last change that was told
	asked     time.Time // since when our OPEN waits for the neighbor's; zero: it does not
}

// silence is how long a neighbor may take for its OPEN before that is told.
// GoBGP itself waits for 4 minutes (RFC 4271 §8.2.2).
const silence = 5 * time.Second

func newKeeper(g *gobgp, s *bgp.Session) *keeper {
	return &keeper{g: g, session: s, desired: map[netip.Prefix]bgp.Route{},
		report: bgp.Report{State: bgp.Connecting, Since: time.Now().UTC(), Advertised: []netip.Prefix{}}}
}

// set carries out a whole set: withdrawals first, because they are the ones
// that hurt when they are late.
func (k *keeper) set(routes []bgp.Route, number uint64) error {
	next := make(map[netip.Prefix]bgp.Route, len(routes))
	for _, r := range routes {
		if bgp.FamilyOf(r.Prefix.Addr()) != k.session.Family {
			return fmt.Errorf("route %s on an %s session", r.Prefix, k.session.Family)
		}
		next[r.Prefix] = r
	}
	for p := range k.desired {
		if _, stays := next[p]; !stays {
			if err := k.g.withdraw(p); err != nil {
				return err
			}
		}
	}
	for p, r := range next {
		if old, has := k.desired[p]; !has || !old.Equal(r) {
			if err := k.g.announce(r); err != nil {
				return err
			}
		}
	}
	k.desired = next
	k.report.Number = number
	return nil
}

// check compares and mends, and brings the report up to date.
func (k *keeper) check() error {
	if err := k.checkTable(); err != nil {
		return err
	}
	states := k.g.takeStates() // before asking, so that the answer is not older
	info, err := k.g.peer()
	if err != nil {
		return err
	}
	k.noteState(states, info)
	k.report.Received, k.report.LastError = info.received, k.g.log.lastError()
	k.report.Advertised, k.report.OtherSites = []netip.Prefix{}, nil
	if k.report.State != bgp.Established {
		return nil
	}
	if err := k.checkAdjOut(); err != nil {
		return err
	}
	if info.received > 0 && info.received <= k.session.MaxReceived {
		return k.lookForOtherSites()
	}
	return nil
}

// checkTable makes the table hold exactly the desired routes.
func (k *keeper) checkTable() error {
	missing := maps.Clone(k.desired)
	var extra []netip.Prefix
	if err := k.g.table(api.TableType_GLOBAL, func(r bgp.Route, asns []uint32) {
		if _, ok := k.desired[r.Prefix]; ok {
			delete(missing, r.Prefix)
		} else {
			extra = append(extra, r.Prefix)
		}
	}); err != nil {
		return err
	}
	for _, p := range extra {
		k.drift("%s was in the table without being wanted", p)
		if err := k.g.withdraw(p); err != nil {
			return err
		}
	}
	for p, r := range missing {
		k.drift("%s was wanted and not in the table", p)
		if err := k.g.announce(r); err != nil {
			return err
		}
	}
	return nil
}

// checkAdjOut makes the session carry exactly the desired routes.
func (k *keeper) checkAdjOut() error {
	missing := maps.Clone(k.desired)
	var wrong []bgp.Route
	var extra []netip.Prefix
	if err := k.g.table(api.TableType_ADJ_OUT, func(r bgp.Route, asns []uint32) {
		want, ok := k.desired[r.Prefix]
		if !ok {
			extra = append(extra, r.Prefix)
			return
		}
		k.report.Advertised = append(k.report.Advertised, r.Prefix)
		delete(missing, r.Prefix)
		if !wanted(k.session, want).Equal(sent(k.session, r, asns)) {
			wrong = append(wrong, want)
		}
	}); err != nil {
		return err
	}
	slices.SortFunc(k.report.Advertised, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	for _, p := range extra {
		k.drift("%s was sent without being wanted", p)
		if err := k.g.withdraw(p); err != nil {
			return err
		}
	}
	for p, r := range missing {
		k.drift("%s was wanted and not sent", p)
		wrong = append(wrong, r)
	}
	for _, r := range wrong {
		if _, gone := missing[r.Prefix]; !gone {
			k.drift("%s was sent with other attributes than wanted", r.Prefix)
		}
		delete(k.g.allowed, r.Prefix) // the policy may be what lost it
		if err := k.g.announce(r); err != nil {
			return err
		}
	}
	if len(wrong) > 0 {
		return k.g.resend()
	}
	return nil
}

func (k *keeper) drift(format string, p netip.Prefix) {
	k.report.Drifts++
	k.report.DriftText = fmt.Sprintf(format, p)
	k.g.log.note("drift mended: " + k.report.DriftText)
}

// noteState follows the session. GoBGP tells the changes without their reason;
// where nobody gave one, we say what is known.
func (k *keeper) noteState(states []api.PeerState_SessionState, info peerInfo) {
	for _, s := range states {
		switch s {
		case api.PeerState_OPENSENT:
			k.g.log.takeFresh()
		case api.PeerState_OPENCONFIRM:
			// A hold time of 0 is negotiated as 0, and GoBGP then gives every
			// write no time at all: the session can never stand.
			k.report.HoldZero = info.hold == 0
			why := ""
			if k.report.HoldZero {
				why = "the neighbor proposes a hold time of 0"
			}
			k.g.log.explain(why)
		case api.PeerState_IDLE, api.PeerState_ACTIVE:
			if k.report.State == bgp.Connecting && k.connected && !k.g.log.takeFresh() {
				k.g.log.note("the neighbor closed the connection before the session was up")
			}
		}
		k.connected = s == api.PeerState_OPENSENT || s == api.PeerState_OPENCONFIRM
	}
	switch {
	case info.state != api.PeerState_OPENSENT:
		k.asked = time.Time{}
	case k.asked.IsZero():
		k.asked = time.Now()
	case time.Since(k.asked) >= silence:
		k.g.log.note("the neighbor takes the connection and does not answer our OPEN")
	}
	state := bgp.Connecting
	if info.state == api.PeerState_ESTABLISHED {
		state = bgp.Established
	}
	if state != k.report.State {
		k.report.State, k.report.Since = state, time.Now().UTC()
	}
}

// lookForOtherSites reads what the neighbor sends us for the marks of other
// sites (A21): ASN:1:SITE says whose route it is, ASN:2:SITE that the site has
// demoted it. What GoBGP's loop check or our policy rejects is seen here too.
func (k *keeper) lookForOtherSites() error {
	seen := map[netip.Prefix]bool{}
	err := k.g.table(api.TableType_ADJ_IN, func(r bgp.Route, _ []uint32) {
		if otherSite(k.session, r.LargeCommunities) {
			seen[r.Prefix] = true
		}
	})
	k.report.OtherSites = slices.Collect(maps.Keys(seen))
	return err
}

func otherSite(s *bgp.Session, list [][3]uint32) bool {
	for _, c := range list {
		if c[0] == s.LocalASN && c[1] == bgp.SiteFunction && c[2] != s.Site &&
			!slices.Contains(list, [3]uint32{s.LocalASN, bgp.DemotedFunction, c[2]}) {
			return true
		}
	}
	return false
}
