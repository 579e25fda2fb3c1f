package e2e

import (
	"testing"

	"sereno/bench/e2e/harness"
)

// TestE2EDNSMaskedFailures kills one of two resolvers, or freezes it, under load, and lets it come back.
func TestE2EDNSMaskedFailures(t *testing.T) {
	for _, how := range []string{"killed", "frozen"} {
		t.Run(how, func(t *testing.T) {
			lab := harness.New(t)
			one, two := lab.Unbound(1), lab.Unbound(2)
			s := lab.Sereno(harness.Config{Unbounds: []*harness.Unbound{one, two}})
			work := dnsLoad(t, s, 2000)
			work.sent(lab, 4000)
			if how == "killed" {
				one.Kill()
			} else {
				one.Freeze()
			}
			s.WaitBackend("unbound-1", "dns", "down")
			work.sent(lab, 2000)
			if how == "killed" {
				one.Start()
			} else {
				one.Thaw()
			}
			s.WaitBackend("unbound-1", "dns", "up")
			work.sent(lab, 4000)
			work.nothingLost("one of two Unbound " + how)
			s.WaitIdle()
		})
	}
}
