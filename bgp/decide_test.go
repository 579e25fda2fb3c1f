package bgp

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestA10DecisionTable(t *testing.T) {
	up, down := service("up", ""), service("down", "no-healthy-backend")
	now := at(time.Hour)
	tests := []struct {
		name     string
		entry    Entry
		state    State
		reason   Reason
		waitsFor string
		next     time.Time
	}{
		{"first start, healthy", Entry{Services: up, Was: Withdrawn, HealthySince: now}, Announced, ReasonNone, "", time.Time{}},
		{"degraded is healthy", Entry{Services: service("degraded", ""), Was: Withdrawn, HealthySince: now}, Announced, ReasonNone, "", time.Time{}},
		{"starting", Entry{Services: service("starting", ""), Was: Withdrawn}, Withdrawn, ReasonStarting, "resolver: starting", time.Time{}},
		{"unknown service", Entry{Services: service("", ""), Was: Withdrawn}, Withdrawn, ReasonStarting, "resolver: unknown", time.Time{}},
		{"down", Entry{Services: down, Was: Announced}, Withdrawn, ReasonServiceDown, "resolver: no-healthy-backend", time.Time{}},
		{"down before it was ever announced, when_down demote", Entry{Config: AnycastConfig{WhenDown: "demote"}, Services: down, Was: Withdrawn}, Withdrawn, ReasonServiceDown, "resolver: no-healthy-backend", time.Time{}},
		{"down, demote", Entry{Config: AnycastConfig{WhenDown: "demote"}, Services: down, Was: Announced}, Demoted, ReasonServiceDown, "resolver: no-healthy-backend", time.Time{}},
		{"down, demote, still", Entry{Config: AnycastConfig{WhenDown: "demote"}, Services: down, Was: Demoted}, Demoted, ReasonServiceDown, "resolver: no-healthy-backend", time.Time{}},
		{"hold-down", Entry{Services: up, Was: Withdrawn, HealthySince: now.Add(-4 * time.Second), Delay: 10 * time.Second},
			Withdrawn, ReasonHoldDown, "10s of unbroken health, until 09:00:06.0Z", now.Add(6 * time.Second)},
		{"hold-down over", Entry{Services: up, Was: Withdrawn, HealthySince: now.Add(-10 * time.Second), Delay: 10 * time.Second}, Announced, ReasonNone, "", time.Time{}},
		{"hold-down keeps the demoted route", Entry{Services: up, Was: Demoted, HealthySince: now, Delay: time.Second},
			Demoted, ReasonHoldDown, "1s of unbroken health, until 09:00:01.0Z", now.Add(time.Second)},
		{"a longer delay does not hurt a standing route", Entry{Services: up, Was: Announced, HealthySince: now, Delay: time.Hour}, Announced, ReasonNone, "", time.Time{}},
		{"drain, first half", Entry{Config: AnycastConfig{DrainTime: 5 * time.Second}, Services: up, Was: Announced, HealthySince: now, DrainSince: now, DrainReason: ReasonDrained},
			Demoted, ReasonDrained, "the traffic to fall away, at most until 09:00:02.5Z, then it is withdrawn", now.Add(2500 * time.Millisecond)},
		{"drain, traffic gone", Entry{Config: AnycastConfig{DrainTime: 5 * time.Second}, Services: up, Was: Demoted, HealthySince: now, DrainSince: now, DrainReason: ReasonDrained, Quiet: true},
			Withdrawn, ReasonDrained, "undrain", time.Time{}},
		{"drain, second half", Entry{Config: AnycastConfig{DrainTime: 5 * time.Second}, Services: up, Was: Demoted, HealthySince: now, DrainSince: now.Add(-2500 * time.Millisecond), DrainReason: ReasonDrained},
			Withdrawn, ReasonDrained, "undrain", time.Time{}},
		{"drain of what is withdrawn", Entry{Config: AnycastConfig{DrainTime: 5 * time.Second}, Services: down, Was: Withdrawn, DrainSince: now, DrainReason: ReasonDrained},
			Withdrawn, ReasonDrained, "undrain", time.Time{}},
		{"stop", Entry{Config: AnycastConfig{DrainTime: 0}, Services: up, Was: Announced, HealthySince: now, DrainSince: now, DrainReason: ReasonStopping}, Withdrawn, ReasonStopping, "", time.Time{}},
		{"paused", Entry{Config: AnycastConfig{Requires: []string{"resolver"}}, Services: up, Was: Announced, HealthySince: now, Paused: true},
			Withdrawn, ReasonPaused, "one self-probe and one good probe of enough backends for resolver", time.Time{}},
		{"paused and down", Entry{Services: down, Was: Announced, Paused: true}, Withdrawn, ReasonServiceDown, "resolver: no-healthy-backend", time.Time{}},
		{"hand-over, alone", Entry{Config: AnycastConfig{WhenDown: "hand-over"}, Services: down, Was: Announced}, Demoted, ReasonNoOtherSite, "resolver: no-healthy-backend, or another site's route", time.Time{}},
		{"hand-over, another site", Entry{Config: AnycastConfig{WhenDown: "hand-over"}, Services: down, Was: Demoted, OtherSite: true, OtherStands: true}, Withdrawn, ReasonHandedOver, "resolver: no-healthy-backend", time.Time{}},
		{"hand-over, another site that may be as sick", Entry{Config: AnycastConfig{WhenDown: "hand-over"}, Services: down, Was: Announced, OtherSite: true}, Demoted, ReasonNoOtherSite, "resolver: no-healthy-backend, or another site's route", time.Time{}},
		{"handed over, the other site stays", Entry{Config: AnycastConfig{WhenDown: "hand-over"}, Services: down, Was: Withdrawn, HandedOver: true, OtherSite: true}, Withdrawn, ReasonHandedOver, "resolver: no-healthy-backend", time.Time{}},
		{"handed over, the other site is gone", Entry{Config: AnycastConfig{WhenDown: "hand-over"}, Services: down, Was: Withdrawn, HandedOver: true}, Demoted, ReasonNoOtherSite, "resolver: no-healthy-backend, or another site's route", time.Time{}},
		{"hand-over before it was ever announced", Entry{Config: AnycastConfig{WhenDown: "hand-over"}, Services: down, Was: Withdrawn, OtherSite: true}, Withdrawn, ReasonServiceDown, "resolver: no-healthy-backend", time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.entry.Config.WhenDown == "" {
				tt.entry.Config.WhenDown = "withdraw"
			}
			tt.entry.Config.Prefixes = []netip.Prefix{netip.MustParsePrefix("192.0.2.53/32")}
			in := Input{Now: now, ASN: 64512, Site: 1, Entries: []Entry{tt.entry}}
			got := Decide(in)
			if again := Decide(in); !reflect.DeepEqual(got, again) {
				t.Errorf("not pure: %+v then %+v", got, again)
			}
			d := got[0]
			if d.State != tt.state || d.Reason != tt.reason || d.WaitsFor != tt.waitsFor || !d.Next.Equal(tt.next) {
				t.Errorf("got %+v", d)
			}
			if !slices.Contains(Reasons(), d.Reason) {
				t.Errorf("reason %q is not in the vocabulary", d.Reason)
			}
			if (d.State == Withdrawn) != (len(d.Routes) == 0) {
				t.Errorf("%s with %d routes", d.State, len(d.Routes))
			}
		})
	}
}

func TestA17RoutesCarryTheirAttributes(t *testing.T) {
	a := anycast(func(a *AnycastConfig) {
		a.MED, a.LocalPref = 5, 150
		a.Communities = []string{"64500:100", "64500:1:2", "64500:100"}
	})
	e := Entry{Config: a, Services: service("up", ""), Was: Withdrawn, HealthySince: epoch}
	d := Decide(Input{Now: epoch, ASN: 64512, Site: 7, Entries: []Entry{e}})[0]
	want := Route{Prefix: netip.MustParsePrefix("192.0.2.53/32"), MED: 5, LocalPref: 150,
		Communities:      []uint32{64500<<16 | 100, CommunityNoExport},
		LargeCommunities: [][3]uint32{{64500, 1, 2}, {64512, 1, 7}}}
	if len(d.Routes) != 2 || !d.Routes[0].Equal(want) {
		t.Errorf("announced %+v, want %+v", d.Routes, want)
	}
	e.Config.NoExport = false
	if d = Decide(Input{Now: epoch, ASN: 64512, Site: 7, Entries: []Entry{e}})[0]; slices.Contains(d.Routes[0].Communities, CommunityNoExport) {
		t.Error("NO_EXPORT although no_export is off")
	}
}

func TestA13DemotedRoutesAreWorseAndMarked(t *testing.T) {
	e := Entry{Config: anycast(func(a *AnycastConfig) { a.WhenDown, a.Communities = "demote", []string{"64500:100"} }), Services: service("down", ""), Was: Announced}
	d := Decide(Input{Now: epoch, ASN: 64512, Site: 7, Entries: []Entry{e}})[0]
	want := Route{Prefix: netip.MustParsePrefix("192.0.2.53/32"), MED: 1000, LocalPref: 10, Prepend: 3,
		Communities:      []uint32{64500<<16 | 100, CommunityGracefulShutdown, CommunityNoExport},
		LargeCommunities: [][3]uint32{{64512, 1, 7}, {64512, 2, 7}}}
	if d.State != Demoted || len(d.Routes) != 2 || !d.Routes[0].Equal(want) {
		t.Errorf("got %+v, want %+v", d, want)
	}
}

func TestParseCommunity(t *testing.T) {
	for s, want := range map[string]Community{
		"64500:100":          {Standard: 64500<<16 | 100},
		"65535:0":            {Standard: CommunityGracefulShutdown},
		"4200000000:1:2":     {Large: true, Parts: [3]uint32{4200000000, 1, 2}},
		"64500:4294967295:0": {Large: true, Parts: [3]uint32{64500, 4294967295, 0}},
	} {
		if got, err := ParseCommunity(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "1", "1:2:3:4", "65536:1", "1:-1", "a:b", "1:", ":1", "+1:2", "4294967296:1:2", "no-export"} {
		if got, err := ParseCommunity(s); err == nil {
			t.Errorf("%q accepted as %+v", s, got)
		}
	}
}
