package stub

import (
	"encoding/binary"
	"strings"
)

// Verdict is what becomes of a login.
type Verdict uint8

// The verdicts.
const (
	Accept    Verdict = iota
	Reject            // even with the right password
	Challenge         // Access-Challenge first; accepted with the State that came with it and the second password
	NoAnswer          // no server ever answers it
)

// Account is what a RADIUS server knows of a user.
type Account struct {
	Verdict   Verdict
	Password  string  // PAP and CHAP
	Second    string  // the answer to a challenge
	Framed    [4]byte // Framed-IP-Address of its Access-Accept, in 100.64.0.0/10
	SessionID uint64  // its Class, in hex
}

// Login gives the account of a user, for any user: the name says what becomes of it. Names that begin with
// `reject-`, `challenge-` and `silent-` are rejected, challenged and never answered; all others are accepted.
// The password is the name with `pw-` in front, the answer to a challenge the name with `answer-` in front.
func Login(user string) Account {
	h := uint64(fnvOffset)
	for i := range len(user) {
		h = (h ^ uint64(user[i])) * fnvPrime
	}
	a := Account{Password: "pw-" + user, Second: "answer-" + user, SessionID: h}
	binary.BigEndian.PutUint32(a.Framed[:], 100<<24|64<<16|uint32(h)&0x003fffff)
	kind, _, _ := strings.Cut(user, "-")
	switch kind {
	case "reject":
		a.Verdict = Reject
	case "challenge":
		a.Verdict = Challenge
	case "silent":
		a.Verdict = NoAnswer
	}
	return a
}
