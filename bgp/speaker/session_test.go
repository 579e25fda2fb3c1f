package speaker

import (
	"net/netip"
	"syscall"
	"testing"
	"time"
)

var localRouter = RouterConfig{ASN: 64500, RouterID: "10.0.0.1", Listen: netip.MustParseAddrPort("127.0.0.1:0"), PeerASN: 64512}

func TestA11WithdrawalLeavesAtOnce(t *testing.T) {
	r := startGoRouter(t, localRouter)
	c := startNode(t, settings(r.address(), vip))
	eventually(t, 5*time.Second, "session", func() bool { return state(c, "core-1").State == "established" })
	if got := r.has(t, vip); got != "" {
		t.Fatalf("announced before any service was healthy: %s", got)
	}
	for range 5 {
		c.SetServices(up)
		up := eventually(t, time.Second, "route", func() bool { return r.has(t, vip) != "" })
		c.SetServices(down)
		down := eventually(t, time.Second, "withdrawal", func() bool { return r.has(t, vip) == "" })
		t.Logf("announced after %v, withdrawn after %v", up, down)
	}
}

func TestA15KilledSpeakerIsBackWithin3s(t *testing.T) {
	r := startGoRouter(t, localRouter)
	c := startNode(t, settings(r.address(), vip))
	c.SetServices(up)
	eventually(t, 5*time.Second, "route", func() bool { return r.has(t, vip) != "" })
	if err := syscall.Kill(state(c, "core-1").SpeakerPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone := eventually(t, time.Second, "route gone", func() bool { return r.has(t, vip) == "" })
	back := eventually(t, 3*time.Second, "route back", func() bool { return r.has(t, vip) != "" })
	t.Logf("gone after %v, back after %v", gone, gone+back)
	if s := state(c, "core-1"); s.LastError != "speaker died: signal: killed" || s.SpeakerDeaths != 1 {
		t.Errorf("status %+v", s)
	}
}
