package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"

	"sereno/bench/internal/radpkt"
	"sereno/bench/stub"
)

// maxAcked bounds the accounting records that are remembered one by one.
const maxAcked = 5_000_000

// accountingBlock is how many sessions start together; their Interim-Updates follow, then their Stops.
const accountingBlock = 64

// maxUsers bounds RADIUSConfig.Users and List.
const maxUsers = 1_000_000

// Subscriber is one who logs in.
type Subscriber struct {
	Name, Password string
	Rejected       bool // what the server must say
}

// account is a subscriber and what an Access-Accept must give.
type account struct {
	Subscriber
	verdict stub.Verdict
	framed  [4]byte
	line    string // Calling-Station-Id
	mschap  mschapLogin
}

// mschapLogin is a subscriber's login with MS-CHAPv2. It is the same each time: its challenges are made up, what they
// cost a server is not.
type mschapLogin struct {
	challenge, peer [16]byte
	response        [24]byte
	success         string // what the server must prove
}

func newMSCHAPLogin(s *Subscriber) mschapLogin {
	var m mschapLogin
	for i, random := range [2]uint64{rand.Uint64(), rand.Uint64()} {
		binary.BigEndian.PutUint64(m.challenge[8*i:], random)
		binary.BigEndian.PutUint64(m.peer[8*i:], ^random*3)
	}
	m.response, m.success = radpkt.MSCHAPv2(s.Name, s.Password, m.challenge, m.peer)
	return m
}

// accounts are the subscribers of c, and those that are asked for when one is to be rejected.
func (c *RADIUSConfig) accounts() (all, rejected []account) {
	if c.MSCHAP > 0 {
		defer func() {
			for _, list := range [2][]account{all, rejected} {
				for i := range list {
					list[i].mschap = newMSCHAPLogin(&list[i].Subscriber)
				}
			}
		}()
	}
	for _, s := range c.List {
		a := account{Subscriber: s, line: "line-" + s.Name}
		if s.Rejected {
			a.verdict = stub.Reject
		}
		all = append(all, a)
	}
	if len(all) > 0 {
		return all, all
	}
	for i := range c.Users {
		all = append(all, known("user-"+strconv.Itoa(i)))
	}
	if c.Reject > 0 {
		for i := range min(c.Users, 1000) {
			rejected = append(rejected, known("reject-"+strconv.Itoa(i)))
		}
	}
	return all, rejected
}

// known is the account that package stub has for that name.
func known(name string) account {
	l := stub.Login(name)
	return account{Subscriber: Subscriber{Name: name, Password: l.Password}, verdict: l.Verdict, framed: l.Framed, line: "line-" + name}
}

// subscribers builds and checks RADIUS packets. What request n is follows from n alone, but for the authenticators,
// which are kept by slot.
type subscribers struct {
	c              RADIUSConfig
	all, rejected  []account
	seed           uint64
	run            string
	keyer          *radpkt.Keyer
	authenticators [][16]byte
	scratch        []byte

	mu    sync.Mutex
	acked []uint64
}

func newSubscribers(c RADIUSConfig, all, rejected []account) *subscribers {
	s := &subscribers{c: c, all: all, rejected: rejected, seed: rand.Uint64(), keyer: radpkt.NewKeyer(c.Secret)}
	s.run = strconv.FormatUint(s.seed>>32, 36)
	return s
}

// method is what a request is.
type method uint8

const (
	pap method = iota
	chap
	chapOwn // CHAP with a CHAP-Challenge
	mschap
	acct
)

func (s *subscribers) method(n uint64) method {
	parts := s.parts()
	at := int(n % parts)
	switch {
	case at < s.c.PAP:
		return pap
	case at >= s.c.PAP+s.c.CHAP+s.c.MSCHAP:
		return acct
	case at >= s.c.PAP+s.c.CHAP:
		return mschap
	case n/parts%2 == 0:
		return chap
	}
	return chapOwn
}

// parts is the sum of the mix.
func (s *subscribers) parts() uint64 { return uint64(s.c.PAP + s.c.CHAP + s.c.MSCHAP + s.c.Acct) }

func (s *subscribers) kind(n uint64) int {
	if s.method(n) == acct {
		return 1
	}
	return 0
}

func (*subscribers) idBits() int     { return 8 }
func (*subscribers) final(Fate) bool { return true }

func (s *subscribers) answered(n uint64) {
	if s.method(n) != acct {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.acked) < maxAcked {
		s.acked = append(s.acked, n)
	}
}

func (*subscribers) replyID(b []byte) (uint16, bool) {
	if len(b) < radpkt.HeaderSize {
		return 0, false
	}
	return uint16(b[1]), true
}

// record numbers the accounting records among all requests.
func (s *subscribers) record(n uint64) uint64 {
	parts := s.parts()
	return n/parts*uint64(s.c.Acct) + n%parts - (parts - uint64(s.c.Acct))
}

// status is the Acct-Status-Type of an accounting record.
func (s *subscribers) status(n uint64) uint32 {
	switch step := s.step(n); step {
	case 0:
		return stub.AcctStart
	case s.steps() - 1:
		return stub.AcctStop
	}
	return stub.AcctInterim
}

// step numbers the records of a session.
func (s *subscribers) step(n uint64) uint64 { return s.record(n) / accountingBlock % s.steps() }

// interimInterval is how far apart a session's records are said to be, in seconds: Acct-Session-Time tells them apart.
const interimInterval = 300

// steps is how many records a session has.
func (s *subscribers) steps() uint64 { return uint64(2 + s.c.Interims) }

// sessionNumber numbers the sessions.
func (s *subscribers) sessionNumber(n uint64) uint64 {
	r := s.record(n)
	return r/(s.steps()*accountingBlock)*accountingBlock + r%accountingBlock
}

// session appends the Acct-Session-Id of an accounting record.
func (s *subscribers) session(dst []byte, n uint64) []byte {
	dst = append(append(dst, s.run...), '-')
	return strconv.AppendUint(dst, s.sessionNumber(n), 10)
}

// who gives the subscriber of request n.
func (s *subscribers) who(n uint64) *account {
	switch {
	case s.method(n) == acct:
		return &s.all[s.sessionNumber(n)%uint64(len(s.all))]
	case s.c.Reject > 0 && len(s.c.List) == 0 && n%uint64(s.c.Reject) == 0:
		return &s.rejected[mix(s.seed^n)%uint64(len(s.rejected))]
	}
	return &s.all[mix(s.seed^n)%uint64(len(s.all))]
}

var (
	zero       [16]byte
	mschapHead = [2]byte{1, 0} // Ident and Flags (RFC 2548 §2.3.2)
)

// build appends request n. It is the same octet for octet each time, as a NAS's retransmissions are.
func (s *subscribers) build(dst []byte, n, slot uint64, id uint16) []byte {
	var authenticator [16]byte
	binary.BigEndian.PutUint64(authenticator[:], mix(s.seed^n))
	binary.BigEndian.PutUint64(authenticator[8:], mix(s.seed+n))
	user, m := s.who(n), s.method(n)
	code := byte(radpkt.AccessRequest)
	if m == acct {
		code = radpkt.AccountingRequest
	}
	dst = radpkt.Start(dst, code, byte(id))
	if m != acct {
		dst = radpkt.Attr(dst, radpkt.MessageAuthenticator, zero[:])
	}
	dst = radpkt.AttrString(dst, radpkt.UserName, user.Name)
	switch m {
	case pap:
		dst = s.keyer.HidePassword(dst, user.Password, authenticator)
	case chap, chapOwn:
		challenge := authenticator
		if m == chapOwn {
			binary.BigEndian.PutUint64(challenge[:], mix(s.seed-n))
			dst = radpkt.Attr(dst, radpkt.CHAPChallenge, challenge[:])
		}
		response := radpkt.CHAP(byte(n), user.Password, challenge[:])
		dst = append(dst, radpkt.CHAPPassword, 19, byte(n))
		dst = append(dst, response[:]...)
	case mschap:
		m := &user.mschap
		dst = radpkt.AttrMicrosoft(dst, radpkt.MSCHAPChallenge, m.challenge[:])
		dst = radpkt.AttrMicrosoft(dst, radpkt.MSCHAP2Response, mschapHead[:], m.peer[:], zero[:8], m.response[:])
	case acct:
		dst = radpkt.AttrUint32(dst, radpkt.AcctStatusType, s.status(n))
		s.scratch = s.session(s.scratch[:0], n)
		dst = radpkt.Attr(dst, radpkt.AcctSessionID, s.scratch)
		dst = radpkt.AttrUint32(dst, radpkt.AcctSessionTime, uint32(s.step(n)*interimInterval))
		dst = radpkt.AttrUint32(dst, radpkt.AcctDelayTime, 0)
	}
	dst = radpkt.AttrString(dst, radpkt.NASIdentifier, s.c.NAS)
	dst = radpkt.AttrUint32(dst, radpkt.NASPort, uint32(n&0xffff))
	dst = radpkt.AttrString(dst, radpkt.CallingStationID, user.line)
	s.keyer.SignRequest(dst, authenticator)
	s.authenticators[slot] = [16]byte(dst[4:radpkt.HeaderSize])
	return dst
}

// check verifies a reply and compares it with what the subscriber must get.
func (s *subscribers) check(reply []byte, n, slot uint64, _ uint16) Fate {
	packet, err := radpkt.Parse(reply)
	if err != nil {
		return Malformed
	}
	m := s.method(n)
	if err := s.keyer.CheckReply(packet, s.authenticators[slot], m != acct && !s.c.Lax); err != nil {
		return WrongSignature
	}
	user := s.who(n)
	want := s.code(m, user)
	switch {
	case packet[0] != want:
		return WrongVerdict
	case radpkt.Count(packet, radpkt.ProxyState) > 0:
		return WrongReply
	case m == mschap && want == radpkt.AccessAccept && !proves(packet, &user.mschap):
		return WrongReply
	case s.c.Real || len(s.c.List) > 0 || want != radpkt.AccessAccept:
		return Right
	case string(radpkt.Find(packet, radpkt.FramedIPAddress)) != string(user.framed[:]):
		return WrongReply
	}
	return Right
}

// proves says whether an Access-Accept proves that the server knows the password (RFC 2759 §5).
func proves(packet []byte, m *mschapLogin) bool {
	success := radpkt.FindMicrosoft(packet, radpkt.MSCHAP2Success)
	return len(success) > 0 && success[0] == mschapHead[0] && bytes.HasPrefix(success[1:], []byte(m.success))
}

// code is what a reply must be.
func (s *subscribers) code(m method, user *account) byte {
	switch {
	case m == acct:
		return radpkt.AccountingResponse
	case user.verdict == stub.Reject:
		return radpkt.AccessReject
	case user.verdict == stub.Challenge:
		return radpkt.AccessChallenge
	}
	return radpkt.AccessAccept
}

func (s *subscribers) explain(reply []byte, n, slot uint64, _ uint16) string {
	packet, err := radpkt.Parse(reply)
	if err != nil {
		return err.Error()
	}
	user := s.who(n)
	if err := s.keyer.CheckReply(packet, s.authenticators[slot], s.method(n) != acct && !s.c.Lax); err != nil {
		return fmt.Sprintf("code %d: %v", packet[0], err)
	}
	return fmt.Sprintf("%s: code %d instead of %d, Framed-IP-Address %v, %d Proxy-States", user.Name, packet[0],
		s.code(s.method(n), user), radpkt.Find(packet, radpkt.FramedIPAddress), radpkt.Count(packet, radpkt.ProxyState))
}
