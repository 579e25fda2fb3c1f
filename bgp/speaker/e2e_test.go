package speaker

import (
	"testing"
	"time"

	"sereno/bgp"
)

// linkSettings is the node's side of a link.
func linkSettings(l link, r realRouter, prefixes ...string) bgp.Settings {
	s := settings(r.address(), prefixes...)
	n := &s.BGP.Neighbors[0]
	n.NextHop = r.nextHop()
	s.BGP.ASN, n.ASN, n.Source = l.nodeASN, l.routerASN, l.node.String()
	if l.password != "" {
		n.PasswordFile = "given"
		s.Passwords = map[string]string{n.Name: l.password}
	}
	if l.gtsm {
		n.TTLSecurity = 255
	}
	a := &s.Anycast[0]
	a.MED, a.Communities = 7, []string{"64500:100", "64500:1:2"}
	return s
}

func TestA17RealRoutersAcceptOurRoutes(t *testing.T) {
	withRouters(t, func(t *testing.T, start func(link) realRouter) {
		for name, change := range map[string]func(*link){
			"plain": func(*link) {},
			"md5":   func(l *link) { l.password = "fulmine" },
			"gtsm":  func(l *link) { l.gtsm = true },
		} {
			t.Run(name, func(t *testing.T) {
				l := plainLink()
				change(&l)
				r := start(l)
				s := linkSettings(l, r, vip)
				s.Anycast[0].WhenDown = "demote"
				c := startNode(t, s)
				c.SetServices(up)
				eventually(t, 10*time.Second, "route", func() bool { return r.has(t, vip) != "" })
				if got := r.has(t, vip); !hasAll(got, r.wantAnnounced(vip)...) {
					t.Errorf("announced: %s, want %q", got, r.wantAnnounced(vip))
				}
				c.SetServices(down)
				eventually(t, time.Second, "demoted route", func() bool { return hasAll(r.has(t, vip), r.wantDemoted()...) })
			})
		}
	})
}
