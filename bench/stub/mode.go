package stub

import (
	"fmt"
	"time"
)

// Fault is one way for a backend to fail.
type Fault uint8

// The faults. Those of one protocol only are Healthy to the other.
const (
	Healthy                Fault = iota // answers as it should
	Silent                              // reads and never answers: a frozen machine, a black hole
	Closed                              // the ports are closed: the kernel refuses (ICMP port unreachable, TCP RST)
	ProbesOnly                          // answers `. NS` and Status-Server, and nothing else
	Servfail                            // DNS: answers SERVFAIL
	Refused                             // DNS: answers REFUSED
	WrongID                             // DNS: the reply's ID is not the query's
	WrongQuestion                       // DNS: the reply's question is not the query's
	Truncated                           // DNS: every UDP answer is TC=1 and empty
	WrongAuthenticator                  // RADIUS: the Response Authenticator does not verify
	NoMessageAuthenticator              // RADIUS: replies carry no Message-Authenticator, as servers before 2024
	Rejects                             // RADIUS: every login is rejected
	faults
)

var faultNames = [faults]string{
	"healthy", "silent", "closed", "probes-only", "servfail", "refused", "wrong-id", "wrong-question",
	"truncated", "wrong-authenticator", "no-message-authenticator", "rejects",
}

// String gives the fault's name, for example "probes-only".
func (f Fault) String() string {
	if f < faults {
		return faultNames[f]
	}
	return fmt.Sprintf("fault(%d)", uint8(f))
}

// Mode is how a server behaves. The zero value is a healthy server.
type Mode struct {
	Fault Fault
	Every int           // the fault meets every nth request only; 0 and 1: all. Closed ports are closed to all
	Delay time.Duration // every answer leaves this much later
}

// String describes the mode in words, for example "servfail, every 10th".
func (m Mode) String() string {
	s := m.Fault.String()
	if m.Every > 1 {
		s += fmt.Sprintf(", every %dth", m.Every)
	}
	if m.Delay > 0 {
		s += ", " + m.Delay.String() + " late"
	}
	return s
}

// meets says whether the nth request (from 1) meets the fault.
func (m Mode) meets(n uint64) bool {
	return m.Fault != Healthy && (m.Every <= 1 || n%uint64(m.Every) == 0)
}
