package radiusfront

import (
	"fmt"
	"time"

	"go.uber.org/zap"

	"sereno/proxy/pool"
	"sereno/proxy/radwire"
)

// Bounds on everything in flight of one service (R37).
const (
	// DefaultMaxInFlight is the default of Options.MaxInFlight.
	DefaultMaxInFlight = 131072
	// DefaultMaxRemembered is the default of Options.MaxRemembered.
	DefaultMaxRemembered = 524288
	// DefaultMaxBytes is the default of Options.MaxBytes.
	DefaultMaxBytes = 512 << 20
	// MaxAttempts is how many backends one request may be sent to at most,
	// whatever a pool's `attempts` says.
	MaxAttempts = 8
)

// Options is all that a service needs. Secrets stand in it already read from
// their files.
type Options struct {
	Config Config
	// Pools by name: the one of Config.Pool and those of Config.Routes.
	Pools map[string]RolePools
	Node  string
	// Workers is the number of cores that share the sockets; 0 means GOMAXPROCS.
	Workers int
	// Plain takes the path of one datagram for each system call.
	Plain bool
	// StateDir is where what was learnt is kept; "" keeps it in memory only.
	StateDir    string
	Logger      *zap.Logger // nil: silence
	ProbeSecret radwire.ProbeSecret
	Now         func() time.Time // nil: time.Now
	// MaxInFlight bounds the requests in flight of all clients together, and
	// MaxRemembered the answers that are kept for duplicates. 0: the defaults.
	MaxInFlight, MaxRemembered int
	// MaxBytes bounds what the packets of both take, in bytes. 0: the default.
	MaxBytes int64
	// MaxUnsent bounds the bytes of datagrams that wait to be sent, of each worker (udp.GroupConfig). 0: its default.
	MaxUnsent int
}

// RolePools is one pool as a RADIUS service sees it.
type RolePools struct {
	// Auth and Acct are the pool's two roles; nil where no backend has the port.
	Auth, Acct *pool.Pool
	// HashKey names the attributes of which the first that a packet has decides
	// over its backend (R33). See HashAttribute.
	HashKey []string
	// Backends by name.
	Backends map[string]BackendConfig
}

// hashAttributes are the names that hash_key knows.
var hashAttributes = map[string]byte{
	"User-Name":                radwire.AttrUserName,
	"NAS-IP-Address":           radwire.AttrNASIPAddress,
	"NAS-Port":                 radwire.AttrNASPort,
	"Framed-IP-Address":        radwire.AttrFramedIPAddress,
	"Called-Station-Id":        radwire.AttrCalledStationID,
	"Calling-Station-Id":       radwire.AttrCallingStationID,
	"NAS-Identifier":           radwire.AttrNASIdentifier,
	"Acct-Session-Id":          radwire.AttrAcctSessionID,
	"Acct-Multi-Session-Id":    radwire.AttrAcctMultiSessionID,
	"NAS-Port-Id":              radwire.AttrNASPortID,
	"Chargeable-User-Identity": radwire.AttrChargeableUser,
	"NAS-IPv6-Address":         radwire.AttrNASIPv6Address,
}

// HashAttribute is the type of an attribute that hash_key may name.
func HashAttribute(name string) (byte, bool) {
	t, ok := hashAttributes[name]
	return t, ok
}

// withDefaults fills what was left out and refuses what cannot work.
func (o Options) withDefaults(workers int) (Options, error) {
	if o.Workers <= 0 {
		o.Workers = workers
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = DefaultMaxInFlight
	}
	if o.MaxRemembered <= 0 {
		o.MaxRemembered = DefaultMaxRemembered
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if _, ok := o.Pools[o.Config.Pool]; !ok {
		return o, fmt.Errorf("pool %q of service %q is not there", o.Config.Pool, o.Config.Name)
	}
	for _, r := range o.Config.Routes {
		if _, ok := o.Pools[r.Pool]; !ok {
			return o, fmt.Errorf("pool %q of route %q is not there", r.Pool, r.Realm)
		}
	}
	return o, nil
}
