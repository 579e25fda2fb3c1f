package health

import (
	"math/rand/v2"
	"testing"
)

func role(total, healthy, starting, least int) []roleEvidence {
	return []roleEvidence{{pool: "resolvers", role: "dns", least: least, count: Role{Total: total, Healthy: healthy, Starting: starting}}}
}

func TestA07TheVerdictOnAService(t *testing.T) {
	serving := func(e serviceEvidence) serviceEvidence {
		e.served, e.ever = true, true
		return e
	}
	fallen := func(e serviceEvidence) serviceEvidence {
		e.ever = true
		return e
	}
	two := serviceEvidence{open: true, self: selfPassed, roles: role(2, 2, 0, 1)}
	with := func(change func(e *serviceEvidence)) serviceEvidence {
		e := two
		change(&e)
		return e
	}
	for _, c := range []struct {
		name   string
		e      serviceEvidence
		state  ServiceState
		reason Reason
	}{
		{"all is well", two, ServiceUp, ReasonNone},
		{"nothing is known yet", with(func(e *serviceEvidence) { e.open, e.self, e.roles = false, selfUnknown, role(2, 0, 2, 1) }), ServiceStarting, ReasonStarting},
		{"its listeners are not open yet", with(func(e *serviceEvidence) { e.open = false }), ServiceStarting, ReasonStarting},
		{"its listeners were closed", serving(with(func(e *serviceEvidence) { e.open = false })), ServiceDown, ReasonListenerClosed},
		{"not asked yet", with(func(e *serviceEvidence) { e.self = selfUnknown }), ServiceStarting, ReasonStarting},
		{"a new listener was not asked yet", serving(with(func(e *serviceEvidence) { e.self = selfUnknown })), ServiceUp, ReasonNone},
		{"down, and not asked yet", fallen(with(func(e *serviceEvidence) { e.self = selfUnknown })), ServiceDown, ReasonSelfProbeFailed},
		{"self-probe failed", serving(with(func(e *serviceEvidence) { e.self = selfFailed })), ServiceDown, ReasonSelfProbeFailed},
		{"self-probe failed at the start", with(func(e *serviceEvidence) { e.self = selfFailed }), ServiceDown, ReasonSelfProbeFailed},
		{"address missing", serving(with(func(e *serviceEvidence) { e.self = selfMissing })), ServiceDown, ReasonAddressMissing},
		{"no backend is known yet", with(func(e *serviceEvidence) { e.roles = role(2, 0, 2, 1) }), ServiceStarting, ReasonStarting},
		{"one of two is known to be dead", with(func(e *serviceEvidence) { e.roles = role(2, 0, 1, 1) }), ServiceStarting, ReasonStarting},
		{"the first backend is there", with(func(e *serviceEvidence) { e.roles = role(2, 1, 1, 1) }), ServiceUp, ReasonNone},
		{"all backends are dead from the start", with(func(e *serviceEvidence) { e.roles = role(2, 0, 0, 1) }), ServiceDown, ReasonNoHealthyBackend},
		{"one of two backends left", serving(with(func(e *serviceEvidence) { e.roles = role(2, 1, 0, 1) })), ServiceDegraded, ReasonNoRedundancy},
		{"a single backend was never redundant", serving(with(func(e *serviceEvidence) { e.roles = role(1, 1, 0, 1) })), ServiceUp, ReasonNone},
		{"min_healthy of three", serving(with(func(e *serviceEvidence) { e.roles = role(3, 2, 0, 2) })), ServiceDegraded, ReasonNoRedundancy},
		{"below min_healthy", serving(with(func(e *serviceEvidence) { e.roles = role(3, 1, 0, 2) })), ServiceDown, ReasonNoHealthyBackend},
		{"all backends died", serving(with(func(e *serviceEvidence) { e.roles = role(2, 0, 0, 1) })), ServiceDown, ReasonNoHealthyBackend},
		{"a reload replaced all backends", serving(with(func(e *serviceEvidence) { e.roles = role(2, 0, 2, 1) })), ServiceUp, ReasonNone},
		{"a reload while it was down", fallen(with(func(e *serviceEvidence) { e.roles = role(2, 0, 2, 1) })), ServiceDown, ReasonNoHealthyBackend},
		{"one role of two is down", serving(with(func(e *serviceEvidence) { e.roles = append(role(2, 2, 0, 1), role(2, 0, 0, 1)...) })), ServiceDown, ReasonNoHealthyBackend},
		{"a routed pool is down", serving(with(func(e *serviceEvidence) { e.routed = role(2, 0, 0, 1) })), ServiceDegraded, ReasonRoutedPoolDown},
		{"a routed pool without redundancy", serving(with(func(e *serviceEvidence) { e.routed = role(2, 1, 0, 1) })), ServiceUp, ReasonNone},
		{"demoted", serving(with(func(e *serviceEvidence) { e.demoted = true })), ServiceDegraded, ReasonDemoted},
		{"demoted and down", serving(with(func(e *serviceEvidence) { e.demoted, e.roles = true, role(2, 0, 0, 1) })), ServiceDown, ReasonNoHealthyBackend},
		{"drained", serving(with(func(e *serviceEvidence) { e.drained = true })), ServiceDrained, ReasonDrained},
		{"drained and down", serving(with(func(e *serviceEvidence) { e.drained, e.self = true, selfFailed })), ServiceDrained, ReasonDrained},
		{"no role is needed", serving(with(func(e *serviceEvidence) { e.roles = nil })), ServiceUp, ReasonNone},
	} {
		v := judge(&c.e)
		if v.state != c.state || v.reason != c.reason {
			t.Errorf("%s: %s (%s), not %s (%s)", c.name, v.state, v.reason, c.state, c.reason)
		}
		if (v.reason == ReasonNone) != (v.state == ServiceUp) {
			t.Errorf("%s: %s has the reason %q", c.name, v.state, v.reason)
		}
	}
}

// Whatever is known: a service with closed listeners, a failed self-probe or too
// few backends never serves; routed pools and drains never make it down.
func TestA07TheVerdictKeepsItsPromises(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 5))
	anyRole := func() []roleEvidence {
		total := 1 + rng.IntN(4)
		healthy := rng.IntN(total + 1)
		return role(total, healthy, rng.IntN(total-healthy+1), 1+rng.IntN(total))
	}
	for range 100_000 {
		e := serviceEvidence{
			open: rng.IntN(4) > 0, self: selfVerdict(rng.IntN(4)), drained: rng.IntN(4) == 0, demoted: rng.IntN(4) == 0,
			ever: rng.IntN(2) == 0, roles: anyRole(), routed: anyRole(),
		}
		e.served = e.ever && rng.IntN(2) == 0
		v := judge(&e)
		r := &e.roles[0].count
		short := r.Healthy < e.roles[0].least
		switch {
		case v.serves && (!e.open || e.self == selfFailed || e.self == selfMissing || r.Healthy+r.Starting < e.roles[0].least):
			t.Fatalf("%+v serves", e)
		case v.serves && short && !e.served:
			t.Fatalf("%+v began to serve with too few backends", e)
		case v.serves && !e.served && e.self != selfPassed:
			t.Fatalf("%+v began to serve without a self-probe", e)
		case !v.serves && e.open && e.self == selfPassed && !short:
			t.Fatalf("%+v does not serve: %+v", e, v)
		case e.drained != (v.state == ServiceDrained):
			t.Fatalf("%+v is %s", e, v.state)
		case v.state == ServiceStarting && e.ever:
			t.Fatalf("%+v is starting again", e)
		}
	}
}

func TestA07AccountingCountsOnlyWhereRecordsWouldBeLost(t *testing.T) {
	accepts := true
	spool := func() bool { return accepts }
	for _, c := range []struct {
		name    string
		service Service
		want    string
	}{
		{"dns", Service{Kind: "dns"}, "dns"},
		{"authentication only", Service{Kind: "radius", Auth: true}, "auth"},
		{"both, without a spool", Service{Kind: "radius", Auth: true, Acct: true}, "auth acct"},
		{"both, with a spool", Service{Kind: "radius", Auth: true, Acct: true, SpoolAccepts: spool}, "auth"},
		{"accounting only, with a spool", Service{Kind: "radius", Acct: true, SpoolAccepts: spool}, ""},
		{"accounting only, without", Service{Kind: "radius", Acct: true}, "acct"},
	} {
		got := ""
		for i, r := range c.service.needs() {
			if i > 0 {
				got += " "
			}
			got += r
		}
		if got != c.want {
			t.Errorf("%s needs %q", c.name, got)
		}
	}
	accepts = false
	full := Service{Kind: "radius", Acct: true, SpoolAccepts: spool}
	if got := full.needs(); len(got) != 1 || got[0] != "acct" {
		t.Errorf("with a spool that refuses it needs %v", got)
	}
}
