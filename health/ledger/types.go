package ledger

import (
	"fmt"
	"strings"
	"time"
)

// Kind is what an object is.
type Kind string

// The kinds.
const (
	Service Kind = "service"
	Backend Kind = "backend"
)

// Object is something that books are kept on. Comparable. Its texts hold no NUL.
type Object struct {
	Kind Kind
	Name string
	Pool string // of a backend
	Role string // of a backend: dns, auth, acct
}

// String is the object as people name it.
func (o Object) String() string {
	if o.Kind == Backend {
		return fmt.Sprintf("backend %s/%s (%s)", o.Pool, o.Name, o.Role)
	}
	return string(o.Kind) + " " + o.Name
}

// text is the object as the file has it.
func (o Object) text() string {
	return strings.Join([]string{string(o.Kind), o.Name, o.Pool, o.Role}, "\x00")
}

func parseObject(s string) (Object, bool) {
	parts := strings.Split(s, "\x00")
	if len(parts) != 4 {
		return Object{}, false
	}
	return Object{Kind: Kind(parts[0]), Name: parts[1], Pool: parts[2], Role: parts[3]}, true
}

// State is what an object is in at a moment. The numbers are those of the file.
type State uint8

// The states (A31). Degraded is up; drained and unknown count neither way.
const (
	Unknown  State = iota // we were not running, or had not found out yet
	Up                    // serves
	Degraded              // serves, but demoted, suspected or without redundancy
	Drained               // taken out of use by an operator
	Down
	numStates
)

// String is the state as reports write it.
func (s State) String() string {
	switch s {
	case Up:
		return "up"
	case Degraded:
		return "degraded"
	case Drained:
		return "drained"
	case Down:
		return "down"
	}
	return "unknown"
}

// Observation is one object as it is now, and its requests since the last one.
type Observation struct {
	Object Object
	State  State
	Cause  string // of the state, one word or a few; cut after 200 bytes
	// Good of Valid requests were answered well since the last Beat. More good ones
	// than valid ones are not believed.
	Good, Valid uint64
}

// Window is a stretch of time that a report is about. From is inclusive, To exclusive.
type Window struct{ From, To time.Time }

// Length of the window, at least 0.
func (w Window) Length() time.Duration { return max(w.To.Sub(w.From), 0) }
