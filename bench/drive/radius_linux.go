package drive

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"

	"sereno/bench/internal/radpkt"
)

// RADIUS asks for logins (PAP, with Message-Authenticator), or with Acct reports accounting. One is for one goroutine: for the
// load, or for one Backend.
type RADIUS struct {
	Acct bool

	base uint64
	key  *radpkt.Keyer
	sent [][16]byte // by place: Request Authenticators
}

// NewRADIUS makes a RADIUS. NAS, server and backends share the secret.
func NewRADIUS(secret string, acct bool) *RADIUS {
	return &RADIUS{Acct: acct, base: rand.Uint64(), key: radpkt.NewKeyer([]byte(secret))}
}

// users is how many subscribers there are.
const users = 1000

// Request implements Protocol.
func (r *RADIUS) Request(dst []byte, n uint64, id uint16, place int) []byte {
	code := byte(radpkt.AccessRequest)
	if r.Acct {
		code = radpkt.AccountingRequest
	}
	var auth [16]byte
	binary.NativeEndian.PutUint64(auth[:], mix(r.base+n))
	binary.NativeEndian.PutUint64(auth[8:], mix(^r.base-n))
	var name [24]byte
	user := strconv.AppendUint(append(name[:0], "subscriber-"...), mix(n)%users, 10)
	b := radpkt.Start(dst, code, byte(id))
	if r.Acct {
		b = radpkt.Attr(b, radpkt.UserName, user)
		b = radpkt.AttrUint32(b, radpkt.AcctStatusType, 3)
		b = radpkt.AttrString(b, radpkt.AcctSessionID, strconv.FormatUint(r.base+n, 16))
		b = radpkt.AttrUint32(b, radpkt.AcctSessionTime, uint32(n)) //nolint:gosec // any number will do
	} else {
		b = radpkt.Attr(b, radpkt.MessageAuthenticator, make([]byte, 16))
		b = radpkt.Attr(b, radpkt.UserName, user)
		b = r.key.HidePassword(b, "open-sesame", auth)
	}
	b = radpkt.AttrString(b, radpkt.NASIdentifier, "bras-1")
	b = radpkt.AttrUint32(b, radpkt.NASPort, uint32(n)) //nolint:gosec // as above
	r.key.SignRequest(b, auth)
	if place >= len(r.sent) {
		r.sent = append(r.sent, make([][16]byte, place+1-len(r.sent))...)
	}
	r.sent[place] = [16]byte(b[4:20])
	return b
}

// Identifier implements Protocol.
func (*RADIUS) Identifier(reply []byte) (uint16, bool) {
	if len(reply) < radpkt.HeaderSize {
		return 0, false
	}
	return uint16(reply[1]), true
}

// Identifiers implements Protocol.
func (*RADIUS) Identifiers() int { return 256 }

// Check implements Protocol: both authenticators, and the code.
func (r *RADIUS) Check(reply []byte, _ uint64, _ uint16, place int) string {
	b, err := radpkt.Parse(reply)
	if err == nil {
		err = r.key.CheckReply(b, r.sent[place], false)
	}
	want := byte(radpkt.AccessAccept)
	if r.Acct {
		want = radpkt.AccountingResponse
	}
	switch {
	case err != nil:
		return err.Error()
	case b[0] != want:
		return "code " + strconv.Itoa(int(b[0]))
	}
	return ""
}

// Answer is a server that knows every subscriber, for Port. A Status-Server is answered like what it asks about (RFC 5997 §3).
func (r *RADIUS) Answer(dst, request []byte) []byte {
	q, err := radpkt.Parse(request)
	if err != nil {
		return nil
	}
	code := byte(radpkt.AccessAccept)
	if r.Acct {
		code = radpkt.AccountingResponse
	}
	b := radpkt.Start(dst, code, q[1])
	if !r.Acct || q[0] == radpkt.StatusServer {
		b = radpkt.Attr(b, radpkt.MessageAuthenticator, make([]byte, 16))
	}
	if !r.Acct {
		b = radpkt.AttrUint32(b, radpkt.SessionTimeout, 86400)
	}
	for off := radpkt.HeaderSize; off < len(q); off += int(q[off+1]) {
		if q[off] == radpkt.ProxyState {
			b = append(b, q[off:off+int(q[off+1])]...)
		}
	}
	r.key.SignReply(b, [16]byte(q[4:20]))
	return b
}

// Fail is a server that answers Status-Server and nothing else, as one does whose database hangs, for Port.
func (r *RADIUS) Fail(dst, request []byte) []byte {
	if len(request) == 0 || request[0] != radpkt.StatusServer {
		return nil
	}
	return r.Answer(dst, request)
}
