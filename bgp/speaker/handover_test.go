package speaker

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sereno/bgp"
)

// site is one node of one site, with hand-over.
type site struct {
	*bgp.Controller
	t *testing.T
}

func startSite(t *testing.T, l link, r realRouter, number uint32, source netip.Addr) site {
	s := linkSettings(l, r, vip)
	s.BGP.Site, s.BGP.RouterID = number, fmt.Sprintf("10.0.0.%d", number+1)
	s.BGP.Neighbors[0].Source = source.String()
	if l.zebra { // a neighbor's next hop, but none of this host's addresses
		s.BGP.Neighbors[0].NextHop = fmt.Sprintf("10.9.9.10%d", number)
	}
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

// TestA21HandOverBetweenSites: with SERENO_E2E=1, behind BIRD and behind FRR.
func TestA21HandOverBetweenSites(t *testing.T) {
	t.Parallel()
	needE2E(t, "BIRD 2 and FRR")
	t.Run("bird", func(t *testing.T) {
		l := plainLink()
		l.export = true
		l.others = []netip.Addr{netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.4")}
		r := startBIRD(t, l)
		testHandOver(t, l, r, func(i int) string {
			return r.ask(t, "show route "+vip+" protocol core"+[]string{"", "2", "3"}[i]+" all")
		}, []string{"(64512, 2, 1)", "(64512, 2, 2)"})
	})
	t.Run("frr", func(t *testing.T) {
		if !inNamespace(t) {
			return
		}
		l := plainLink()
		l.zebra = true
		l.router, l.node = netip.MustParseAddr("10.9.9.1"), netip.MustParseAddr("10.9.9.2")
		l.others = []netip.Addr{netip.MustParseAddr("10.9.9.3"), netip.MustParseAddr("10.9.9.4")}
		r := startFRR(t, l)
		testHandOver(t, l, r, func(int) string { return r.ask(t, "show bgp ipv4 unicast "+vip+" json") }, []string{"64512:2:1", "64512:2:2"})
	})
}

// inNamespace runs the test again in a network namespace with a link of its
// own; true: this is that run.
func inNamespace(t *testing.T) bool {
	if os.Getenv("SERENO_TEST_NETNS") == "1" {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		lab := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lab0"}, PeerName: "lab1"}
		if err == nil {
			err = netlink.LinkAdd(lab)
		}
		if err == nil { // for lab0 to have a carrier
			var peer netlink.Link
			if peer, err = netlink.LinkByName("lab1"); err == nil {
				err = netlink.LinkSetUp(peer)
			}
		}
		for i := 1; i <= 4 && err == nil; i++ {
			var a *netlink.Addr
			if a, err = netlink.ParseAddr(fmt.Sprintf("10.9.9.%d/24", i)); err == nil {
				err = netlink.AddrAdd(lab, a)
			}
		}
		if err == nil {
			err = netlink.LinkSetUp(lab)
		}
		if err != nil {
			t.Fatal(err)
		}
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), "SERENO_TEST_NETNS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
	}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("in a namespace: %v\n%s", err, out)
	}
	return false
}

func testHandOver(t *testing.T, l link, r realRouter, routes func(site int) string, demoted []string) {
	one := startSite(t, l, r, 1, l.node)
	two := startSite(t, l, r, 2, l.others[0])
	one.becomes(bgp.Announced, "")
	two.becomes(bgp.Announced, "")

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
	for i, want := range demoted {
		if !hasAll(routes(i), want) {
			t.Errorf("site %d is not there, demoted: %s", i+1, routes(i))
		}
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
