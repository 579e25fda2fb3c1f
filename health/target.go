package health

import (
	"bytes"
	"net/netip"
	"slices"
	"time"
)

// Target is one backend in one role as the configuration wants it judged.
type Target struct {
	Key
	Protocol string         // "dns" or "radius"
	Addr     netip.AddrPort // where this role's traffic goes
	Source   netip.Addr     // local address that it leaves from; zero: the kernel's choice
	Config   Config         // RADIUS.Password is filled in, from its file too
	// AttemptTimeout is the pool's attempt_timeout: how long a request waits before
	// a front reports it as silent.
	AttemptTimeout time.Duration

	// Of RADIUS only.
	Secret                      []byte // shared with the backend; not changed after it is handed over
	RequireMessageAuthenticator bool   // a reply without it is no reply (message_authenticator: require)
}

// Probed tells whether the target is probed, or judged by real traffic alone
// (`acct_probe: none`).
func (t *Target) Probed() bool {
	return !(t.Protocol == "radius" && t.Role == "acct" && t.Config.RADIUS.AcctProbe == "none")
}

func (t *Target) limits() limits {
	return limits{
		fall: max(1, t.Config.Fall), rise: max(1, t.Config.Rise), suspectAfter: max(1, t.Config.SuspectAfter),
		interval: t.Config.Interval, timeout: t.Config.Timeout, slowStart: t.Config.SlowStart,
		attempt: t.AttemptTimeout, probed: t.Probed(),
	}
}

// sameBackend tells whether a verdict on the one is a verdict on the other.
func (t *Target) sameBackend(o *Target) bool {
	return t.Key == o.Key && t.Addr == o.Addr && t.Protocol == o.Protocol
}

// sameProbe tells whether both are probed in the same way.
func (t *Target) sameProbe(o *Target) bool {
	a, b := t.Config, o.Config
	return t.sameBackend(o) && t.Source == o.Source && t.AttemptTimeout == o.AttemptTimeout &&
		t.RequireMessageAuthenticator == o.RequireMessageAuthenticator && bytes.Equal(t.Secret, o.Secret) &&
		a.Interval == b.Interval && a.Timeout == b.Timeout && a.Fall == b.Fall && a.Rise == b.Rise &&
		a.SuspectAfter == b.SuspectAfter && a.SlowStart == b.SlowStart && a.RADIUS == b.RADIUS &&
		a.DNS.Name == b.DNS.Name && a.DNS.Type == b.DNS.Type && a.DNS.RandomLabel == b.DNS.RandomLabel &&
		a.DNS.Answer == b.DNS.Answer && slices.Equal(a.DNS.Rcodes, b.DNS.Rcodes)
}
