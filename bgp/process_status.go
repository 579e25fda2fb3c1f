package bgp

import (
	"fmt"
	"time"
)

// status is what the status API shows of the neighbor.
func (p *process) status() NeighborStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := NeighborStatus{Name: p.name, Speaker: p.speaker, Address: p.session.Address.String(), ASN: p.session.ASN,
		State: p.state, Since: p.since.UTC(), Advertised: []string{}, Received: p.report.Received, LastError: p.lastError,
		SpeakerPID: p.pid, SpeakerDeaths: p.total, Drifts: p.drifts + p.report.Drifts}
	if p.speaker == "up" {
		s.LeaseMarginSeconds = min(p.margin[0], p.margin[1]).Round(time.Millisecond).Seconds()
	}
	for _, a := range p.report.Advertised {
		s.Advertised = append(s.Advertised, a.String())
	}
	return s
}

// alarms are computed when they are asked for, so that each ends by itself.
func (p *process) alarms() []Alarm {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var out []Alarm
	add := func(name string, since time.Time, text string) {
		out = append(out, Alarm{Name: name, Subject: p.name, Since: since.UTC(), Text: fmt.Sprintf("%s (%s): %s", p.name, p.session.Address, text)})
	}
	if !p.downSince.IsZero() && now.Sub(p.downSince) >= downAlarmAfter {
		words := p.lastError
		if words == "" {
			words = "no session, and no answer that says why"
		}
		add(AlarmNeighborDown, p.downSince, words)
	}
	if p.report.HoldZero {
		add(AlarmHoldTimeZero, p.since, "it proposes a hold time of 0, with which no session stands; set one of 3 s or more there")
	}
	if !p.failing.IsZero() && (p.speaker != "up" || now.Sub(p.deaths[len(p.deaths)-1]) < healthyLife) {
		add(AlarmSpeakerFailing, p.failing, fmt.Sprintf("its speaker died %d times: %s", p.bad, p.lastError))
	}
	if !p.flooding.IsZero() {
		add(AlarmTooManyRoutes, p.flooding, fmt.Sprintf("it sends %d routes, more than max_received (%d): let it export nothing to us", p.flood, p.session.MaxReceived))
	}
	if !p.driftAt.IsZero() && now.Sub(p.driftAt) < driftAlarmFor {
		add(AlarmRouteDrift, p.driftAt, p.report.DriftText)
	}
	return out
}
