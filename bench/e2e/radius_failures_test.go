package e2e

import (
	"net/netip"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/load"
	"sereno/bench/stub"
)

// simulated starts a simulated server at one of the lab's addresses.
func simulated(t *testing.T, addr netip.Addr) *stub.RADIUS {
	t.Helper()
	s, err := stub.NewRADIUS(stub.RADIUSConfig{
		Name: addr.String(), Auth: netip.AddrPortFrom(addr, harness.AuthPort), Acct: netip.AddrPortFrom(addr, harness.AcctPort),
		Secret: []byte(harness.BackendSecret), Demand: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// until waits for a backend's state and gives how long that took.
func until(t *testing.T, lab *harness.Lab, s *harness.Sereno, role string, bound time.Duration, what string, want string) {
	t.Helper()
	begin := time.Now()
	state := ""
	lab.Eventually(20*time.Second, what, func() bool {
		state = s.Status().Backend("server-2", role)
		return state == want
	})
	took := time.Since(begin)
	t.Logf("%s: %s is %s after %s (bound %s)", what, role, state, took.Round(time.Millisecond), bound)
	if took > bound {
		t.Errorf("%s: %s was %s after %s, above %s", what, role, state, took, bound)
	}
}

// breakable starts the second server, and gives how it fails and how it is mended.
func breakable(t *testing.T, lab *harness.Lab, how string) (addr netip.Addr, fail, mend func()) {
	t.Helper()
	switch how {
	case "killed":
		f := full(lab, 2, "")
		return f.Addr, f.Kill, f.Start
	case "frozen":
		f := full(lab, 2, "")
		return f.Addr, f.Freeze, f.Thaw
	}
	addr = lab.Addr(hostStub)
	half := simulated(t, addr)
	set := func(m stub.Mode) func() {
		return func() {
			if err := half.Set(m); err != nil {
				t.Error(err)
			}
		}
	}
	return addr, set(stub.Mode{Fault: stub.ProbesOnly}), set(stub.Mode{})
}

// TestE2ERADIUSR30FailuresUnderLoad breaks one of two servers under 1000 authentications a second, whose NAS never
// repeats anything, and mends it: nothing is lost, nobody is rejected, and the server is down and up again within
// A03's bounds. A server is killed, frozen, or half dead: it answers probes, and not logins.
func TestE2ERADIUSR30FailuresUnderLoad(t *testing.T) {
	for _, how := range []string{"killed", "frozen", "half dead", "half dead and probed by logins"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			lab := harness.New(t)
			one := full(lab, 1, "probe Cleartext-Password := \"pw-probe\"\n")
			second, fail, mend := breakable(t, lab, how)
			f := front{servers: []netip.Addr{one.Addr, second}}
			if how == "half dead and probed by logins" {
				f.health = ", radius: {method: access-request, user: probe, password: pw-probe, expect: accept}"
			}
			s := f.start(lab)
			_, work := radiusLoad(t, s, load.RADIUSConfig{Common: load.Common{Rate: 1000, Timeout: 6 * time.Second}, PAP: 1, CHAP: 1})
			work.sent(lab, 1500)
			if a, b := handed(s, "server-1"), handed(s, "server-2"); a < 300 || b < 300 {
				t.Errorf("server-1 got %g requests, server-2 %g", a, b)
			}
			fail()
			up := maxUp
			if how == "half dead" {
				// Its probes are good, so only its silence tells: three times two requests that wait attempt_timeout,
				// then it must show three times the good probes.
				until(t, lab, s, "auth", 3*1700*time.Millisecond, how, "down")
				up = 3*2*probeInterval*11/10 + probeTimeout + looking
			} else {
				until(t, lab, s, "auth", maxDown, how, "down")
			}
			s.CheckBalance()
			work.sent(lab, 2000)
			mend()
			until(t, lab, s, "auth", up, how+", and mended", "up")
			before := handed(s, "server-2")
			work.sent(lab, 2000)
			if n := handed(s, "server-2") - before; n < 200 {
				t.Errorf("the server that is back got %g requests", n)
			}
			work.nothingLost("one of two servers " + how)
			s.WaitIdle()
			m := s.Metrics()
			if n := m.Sum("sereno_radius_answers_total", "code", "Access-Reject"); n != 0 {
				t.Errorf("%g Access-Rejects", n)
			}
			if n := m.Sum("sereno_radius_drops_total"); n != 0 {
				t.Errorf("%g requests were dropped", n)
			}
		})
	}
}

// TestE2ERADIUSR30EveryServerDeadMeansSilence kills both servers: nobody is rejected, what cannot be served is
// silence, counted; and all is well when one is back.
func TestE2ERADIUSR30EveryServerDeadMeansSilence(t *testing.T) {
	t.Parallel()
	lab := harness.New(t)
	one, two := full(lab, 1, ""), full(lab, 2, "")
	s := front{servers: addrs(one, two)}.start(lab)
	one.Freeze()
	two.Kill()
	_, work := radiusLoad(t, s, load.RADIUSConfig{Common: load.Common{Rate: 200, Limit: 400, Timeout: 7 * time.Second}, PAP: 1, CHAP: 1})
	b := <-work.result
	t.Logf("every server dead: %s", &b)
	if b.Wrong != 0 || b.Answered != 0 || b.Lost != b.Sent {
		t.Errorf("%d answered, %d wrong of %d: %v", b.Answered, b.Wrong, b.Sent, b.Faulty)
	}
	s.WaitIdle()
	if n := s.Metrics().Sum("sereno_radius_answers_total", "kind", "auth"); n != 0 {
		t.Errorf("%g answers", n)
	}
	one.Thaw()
	s.WaitBackend("server-1", "auth", "up")
	_, work = radiusLoad(t, s, load.RADIUSConfig{Common: load.Common{Rate: 500, Limit: 500, Timeout: 6 * time.Second}, PAP: 1, CHAP: 1})
	if b := <-work.result; !b.Clean() {
		t.Errorf("with a server back: %s: %v", &b, b.Faulty)
	}
	s.WaitIdle()
}
