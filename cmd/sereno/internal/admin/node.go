package admin

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Node is the running node as this package sees it. All methods are called from
// several goroutines at once.
type Node interface {
	Looks
	Spools
	// Status is the whole state at one moment. The caller may keep it and must not
	// change it.
	Status() Status
	// Ready tells whether every service is up or degraded. If not, reasons has one line
	// for each that is not ("service resolver: no-healthy-backend").
	Ready() (ready bool, reasons []string)
	// Drain takes target out of use, for as long as d, or until Undrain if d is 0. It is
	// in force when Drain returns. It returns the drain as Status shows it from now on, with
	// a warning if it could not be written down. A target that is drained already gets the
	// new end.
	// Errors: ErrNotFound; a RefusedError where it would leave a pool below min_healthy or
	// withdraw the last announced anycast of the node, unless force.
	Drain(ctx context.Context, target Target, d time.Duration, force bool) (Drained, error)
	// Undrain ends a drain, with a warning as Drain. ErrNotFound if the target does not exist
	// or is not drained.
	Undrain(ctx context.Context, target Target) (Undrained, error)
	// Reload reads the configuration again and applies it whole, or keeps the running one
	// whole and returns a RefusedError with the errors of the configuration as details.
	// allowEmpty lets a configuration through that takes away the last anycast prefix or
	// neighbor.
	Reload(ctx context.Context, allowEmpty bool) (Changes, error)
	// Flush forgets what the cache of a DNS service holds for name, with subtree also for
	// the names below it, or everything if name is empty. It returns how many answers that
	// were. Errors: ErrNotFound, ErrBadArgument for what is not a domain name.
	Flush(service, name string, subtree bool) (int, error)
	// Forget makes a RADIUS service forget what it learnt of Message-Authenticators from
	// address, or everything if address is zero. It returns of how many sources. ErrNotFound.
	Forget(service string, address netip.Addr) (int, error)
	// ExplainDNS and ExplainRADIUS say for each service of the kind what a request would
	// meet, without sending it. Errors: ErrNotFound where there is no such service,
	// ErrBadArgument.
	ExplainDNS(q DNSQuestion) ([]Explanation, error)
	ExplainRADIUS(q RADIUSQuestion) ([]Explanation, error)
	// ExplainAnycast says why an entry's prefixes are or are not announced. ErrNotFound.
	ExplainAnycast(name string) (Explanation, error)
	// Availability reads the books on a service and the backends of its pools, or on
	// everything if service is empty, for windows of these lengths until now.
	// ErrNotFound: there is no such service.
	Availability(service string, lengths []time.Duration) (Availability, error)
	// Timeline reads from the same books when which of these was in which state, over the
	// window of that length until now: at most MaxSpans and the last MaxOutages of each.
	// ErrNotFound: there is no such service.
	Timeline(service string, length time.Duration) (Timeline, error)
}

// Changes is the answer of a reload that was applied.
type Changes struct {
	Hash     string       `json:"hash"`     // of the configuration that runs now
	Changes  List[Change] `json:"changes"`  // in the order of the file; empty: the file says what runs already
	Routes   List[Change] `json:"routes"`   // what it changes in the routes
	Restart  List[string] `json:"restart"`  // keys that differ from what runs until the next start
	Warnings List[string] `json:"warnings"` // of the configuration
}

// Change is one difference. It never contains a secret.
type Change struct {
	Action string `json:"action"` // changed, added, removed, reordered
	Key    string `json:"key"`    // pools[resolvers].backends[tempesta].weight; may be empty for a route
	Text   string `json:"text"`   // in words: what it was and what it is; empty where the value is a secret
}

// TargetKind is what a drain takes out of use.
type TargetKind string

// The kinds of targets.
const (
	TargetNode    TargetKind = "node"
	TargetService TargetKind = "service"
	TargetAnycast TargetKind = "anycast"
	TargetBackend TargetKind = "pool"
)

// Target names what a drain takes out of use. Backend is set for TargetBackend only,
// and Name is then the pool's. Comparable.
type Target struct {
	Kind    TargetKind
	Name    string
	Backend string
}

// String is the target as operators write it: node, service/NAME, anycast/NAME or
// pool/POOL/BACKEND.
func (t Target) String() string {
	switch t.Kind {
	case TargetService, TargetAnycast:
		return string(t.Kind) + "/" + t.Name
	case TargetBackend:
		return string(t.Kind) + "/" + t.Name + "/" + t.Backend
	}
	return string(t.Kind)
}

// ParseTarget reads what String writes. Whether the target exists is the node's to
// say. Its error is an ErrBadArgument.
func ParseTarget(s string) (Target, error) {
	if s == "" {
		return Target{}, fmt.Errorf("%w: the target is missing: %s", ErrBadArgument, targetForms)
	}
	kind, rest, _ := strings.Cut(s, "/")
	parts := strings.Split(rest, "/")
	t := Target{Kind: TargetKind(kind)}
	unprintable := !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	good := len(s) <= maxTarget && parts[len(parts)-1] != "" && !unprintable
	switch t.Kind {
	case TargetNode:
		good = s == string(TargetNode)
	case TargetService, TargetAnycast:
		good = good && len(parts) == 1
		t.Name = rest
	case TargetBackend:
		good = good && len(parts) == 2 && parts[0] != ""
		if good {
			t.Name, t.Backend = parts[0], parts[1]
		}
	default:
		good = false
	}
	if !good {
		return Target{}, fmt.Errorf("%w: no such target: %s: %s", ErrBadArgument, quote(s), targetForms)
	}
	return t, nil
}

const (
	targetForms = "write node, service/NAME, anycast/NAME or pool/POOL/BACKEND"
	maxTarget   = 1024 // bytes
)

// maxShown is how much of a stranger's text is shown again, in bytes.
const maxShown = 300

// head is the beginning of a text, for the log, which escapes it.
func head(s string) string {
	if len(s) > maxShown {
		return strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return s
}

// quote is a text as an error may show it: short, and with everything unprintable escaped.
func quote(s string) string { return strconv.Quote(head(s)) }

// MaxDrain is the longest time that a drain may be limited to. A longer one is a slip
// of the pen more often than a wish; without a limit it lasts until it is undone.
const MaxDrain = 366 * 24 * time.Hour

// ParseFor reads how long a drain lasts: a Go duration or a number of days ("30m",
// "12h", "2d"), more than zero and at most MaxDrain. Its error is an ErrBadArgument.
func ParseFor(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		d, err = time.ParseDuration(days + "h")
		if d > MaxDrain {
			err = fmt.Errorf("longer than %d days", int(MaxDrain.Hours()/24))
		}
		d *= 24
	}
	if err != nil {
		return 0, fmt.Errorf("%w: not a duration: %s: write for example 30m, 12h or 2d", ErrBadArgument, quote(s))
	}
	if d <= 0 || d > MaxDrain {
		return 0, fmt.Errorf("%w: %s is out of range: more than 0 and at most %d days", ErrBadArgument, quote(s), int(MaxDrain.Hours()/24))
	}
	return d, nil
}
