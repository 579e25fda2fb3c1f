package speaker

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sereno/bgp"
)

// site is one node of one site, with hand-over.
type site struct {
	*bgp.Controller
	t *testing.T
}

func startSite(t *testing.T, l link, r *bird, number uint32, source netip.Addr) site {
	s := linkSettings(l, r, vip)
	s.BGP.Site, s.BGP.RouterID = number, fmt.Sprintf("10.0.0.%d", number+1)
	s.BGP.Neighbors[0].Source = source.String()
	s.Anycast[0].WhenDown = "hand-over"
	s.Anycast[0].NoExport = false // or the router would not show the other sites' routes
	c := startNode(t, s)
	c.SetServices(up)
	return site{c, t}
}

// becomes waits until the site's entry has the state and reason.
func (s site) becomes(state bgp.State, reason bgp.Reason) {
	s.t.Helper()
	eventually(s.t, 10*time.Second, fmt.Sprintf("%s %s, it is %+v", state, reason, s.Status().Anycast[0]), func() bool {
		a := s.Status().Anycast[0]
		return a.State == state && a.Reason == reason
	})
}

func TestA21HandOverBetweenSites(t *testing.T) {
	t.Parallel()
	if !e2e() {
		t.Log("left out without SERENO_E2E=1: BIRD 2")
		return
	}
	l := plainLink()
	l.export = true
	l.others = []netip.Addr{netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.4")}
	r := startBIRD(t, l)
	one := startSite(t, l, r, 1, l.node)
	two := startSite(t, l, r, 2, l.others[0])
	routes := func(from string) string {
		return r.ask(t, "show route "+vip+" protocol "+from+" all")
	}
	one.becomes(bgp.Announced, "")
	two.becomes(bgp.Announced, "")
	eventually(t, 10*time.Second, "both routes", func() bool { return hasAll(routes("core"), "as_path") && hasAll(routes("core2"), "as_path") })

	one.SetServices(down)
	one.becomes(bgp.Withdrawn, bgp.ReasonHandedOver)
	time.Sleep(2 * time.Second) // two leases: it stays handed over
	one.becomes(bgp.Withdrawn, bgp.ReasonHandedOver)
	two.becomes(bgp.Announced, "")

	two.SetServices(down) // sick sites do not hand over to one another
	two.becomes(bgp.Demoted, bgp.ReasonNoOtherSite)
	one.becomes(bgp.Demoted, bgp.ReasonNoOtherSite)
	time.Sleep(2 * time.Second)
	two.becomes(bgp.Demoted, bgp.ReasonNoOtherSite)
	one.becomes(bgp.Demoted, bgp.ReasonNoOtherSite)
	if !hasAll(routes("core"), "(64512, 2, 1)") || !hasAll(routes("core2"), "(64512, 2, 2)") {
		t.Errorf("the last sites are not both there, demoted:\n%s\n%s", routes("core"), routes("core2"))
	}
	alarmed := false
	for _, a := range one.Status().Alarms {
		alarmed = alarmed || a.Name == bgp.AlarmNoOtherSite
	}
	if !alarmed {
		t.Errorf("no alarm: %+v", one.Status().Alarms)
	}

	three := startSite(t, l, r, 3, l.others[1]) // a healthy site: both sick ones leave
	three.becomes(bgp.Announced, "")
	one.becomes(bgp.Withdrawn, bgp.ReasonHandedOver)
	two.becomes(bgp.Withdrawn, bgp.ReasonHandedOver)
	one.SetServices(up)
	one.becomes(bgp.Announced, "")
	three.SetServices(down)
	three.becomes(bgp.Withdrawn, bgp.ReasonHandedOver)
}
