package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"sereno/bench/internal/radpkt"
	"sereno/bench/stub"
)

// RADIUSTarget is where one server, or one front, listens.
type RADIUSTarget struct{ Auth, Acct netip.AddrPort }

// RADIUSConfig says what is sent to whom. Zero fields take their defaults.
type RADIUSConfig struct {
	Common
	Targets []RADIUSTarget // the first gets everything, until Use names another
	Secret  []byte         // the NAS's
	PAP     int            // parts of the mix that are logins with a password,
	CHAP    int            // with CHAP, half of them without CHAP-Challenge,
	Acct    int            // and accounting records. Default: 1, 1, 0
	Users   int            // how many different subscribers; 1000
	Reject  int            // every such login is of a user who is rejected; 0: none
	Lax     bool           // replies need no Message-Authenticator (a server from before 2024)
	NAS     string         // NAS-Identifier; "load"
}

// RADIUS is a NAS with many subscribers: it logs in and accounts, and checks the replies. Its methods are safe for
// concurrent use.
type RADIUS struct {
	g *generator
	p *subscribers
}

// NewRADIUS opens the sockets. Targets that are not of this host are errors.
func NewRADIUS(c RADIUSConfig) (*RADIUS, error) {
	c.Timeout = orDefault(c.Timeout, 10*time.Second)
	c.Tries = orDefault(c.Tries, 3)
	c.Users = orDefault(c.Users, 1000)
	c.NAS = orDefault(c.NAS, "load")
	if c.PAP+c.CHAP+c.Acct == 0 {
		c.PAP, c.CHAP = 1, 1
	}
	if c.PAP < 0 || c.CHAP < 0 || c.Acct < 0 || c.Users < 1 || c.Reject < 0 {
		return nil, errors.New("parts of the mix and numbers of users must not be negative")
	}
	if len(c.Secret) == 0 {
		return nil, errors.New("a secret is needed")
	}
	// 256 identifiers for each source port: enough that none comes again before its request is over.
	c.Sockets = orDefault(c.Sockets, max(8, int(c.Rate*c.Timeout.Seconds()/200)))
	var targets [][]netip.AddrPort
	for _, t := range c.Targets {
		if c.Acct > 0 && !t.Acct.IsValid() {
			return nil, errors.New("the mix has accounting, and a target has no address for it")
		}
		targets = append(targets, []netip.AddrPort{t.Auth, t.Acct})
	}
	p := &subscribers{c: c, seed: rand.Uint64(), keyer: radpkt.NewKeyer(c.Secret)}
	p.run = strconv.FormatUint(p.seed>>32, 36)
	g, err := newGenerator(c.Common, p, targets)
	if err != nil {
		return nil, err
	}
	p.authenticators = make([][16]byte, len(g.slots))
	return &RADIUS{g, p}, nil
}

// Run sends until ctx ends or Limit is reached, waits for the replies to what was sent, closes the sockets and gives
// the books. It may be called once.
func (r *RADIUS) Run(ctx context.Context) (Books, error) { return r.g.run(ctx) }

// Books gives the books as they stand.
func (r *RADIUS) Books() Books { return r.g.snapshot() }

// Use sends to that target (an index of Targets) from now on, resends included; -1 sends to nobody.
func (r *RADIUS) Use(target int) { r.g.use(target) }

// SetRate changes the rate from now on.
func (r *RADIUS) SetRate(rate float64) { r.g.setRate(rate) }

// Acknowledged gives the accounting records that got an Accounting-Response: a server must have each of them.
func (r *RADIUS) Acknowledged() []stub.Record {
	r.p.mu.Lock()
	acked := append([]uint64(nil), r.p.acked...)
	r.p.mu.Unlock()
	records := make([]stub.Record, len(acked))
	for i, n := range acked {
		records[i] = stub.Record{Session: string(r.p.session(nil, n)), Status: r.p.status(n)}
	}
	return records
}

// maxAcked bounds the accounting records that are remembered one by one.
const maxAcked = 5_000_000

// accountingBlock is how many sessions start together; their Interim-Updates follow, then their Stops.
const accountingBlock = 64

// subscribers builds and checks RADIUS packets. What request n is follows from n alone, but for random
// authenticators, which are kept by slot.
type subscribers struct {
	c              RADIUSConfig
	seed           uint64
	run            string
	keyer          *radpkt.Keyer
	authenticators [][16]byte
	user           []byte

	mu    sync.Mutex
	acked []uint64
}

// method is what a request is.
type method uint8

const (
	pap method = iota
	chap
	chapOwn // CHAP with a CHAP-Challenge
	acct
)

func (s *subscribers) method(n uint64) method {
	parts := uint64(s.c.PAP + s.c.CHAP + s.c.Acct)
	at := int(n % parts)
	switch {
	case at < s.c.PAP:
		return pap
	case at >= s.c.PAP+s.c.CHAP:
		return acct
	case n/parts%2 == 0:
		return chap
	}
	return chapOwn
}

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
	parts := uint64(s.c.PAP + s.c.CHAP + s.c.Acct)
	return n/parts*uint64(s.c.Acct) + n%parts - uint64(s.c.PAP+s.c.CHAP)
}

// status is the Acct-Status-Type of an accounting record.
func (s *subscribers) status(n uint64) uint32 {
	return [...]uint32{stub.AcctStart, stub.AcctInterim, stub.AcctStop}[s.record(n)/accountingBlock%3]
}

// session appends the Acct-Session-Id of an accounting record.
func (s *subscribers) session(dst []byte, n uint64) []byte {
	r := s.record(n)
	dst = append(append(dst, s.run...), '-')
	return strconv.AppendUint(dst, r/(3*accountingBlock)*accountingBlock+r%accountingBlock, 10)
}

// userOf gives the subscriber of request n.
func (s *subscribers) userOf(n uint64) string {
	if s.c.Reject > 0 && s.method(n) != acct && n%uint64(s.c.Reject) == 0 {
		return "reject-" + strconv.FormatUint(mix(s.seed^n)%uint64(s.c.Users), 10)
	}
	who := mix(s.seed^n) % uint64(s.c.Users)
	if s.method(n) == acct {
		r := s.record(n)
		who = (r/(3*accountingBlock)*accountingBlock + r%accountingBlock) % uint64(s.c.Users)
	}
	return "user-" + strconv.FormatUint(who, 10)
}

// build appends request n. It is the same octet for octet each time, as a NAS's retransmissions are.
func (s *subscribers) build(dst []byte, n, slot uint64, id uint16) []byte {
	var authenticator [16]byte
	binary.BigEndian.PutUint64(authenticator[:], mix(s.seed^n))
	binary.BigEndian.PutUint64(authenticator[8:], mix(s.seed+n))
	user, m := s.userOf(n), s.method(n)
	code := byte(radpkt.AccessRequest)
	if m == acct {
		code = radpkt.AccountingRequest
	}
	dst = radpkt.Start(dst, code, byte(id))
	if m != acct {
		var zero [16]byte
		dst = radpkt.Attr(dst, radpkt.MessageAuthenticator, zero[:])
	}
	dst = radpkt.AttrString(dst, radpkt.UserName, user)
	switch m {
	case pap:
		dst = s.keyer.HidePassword(dst, stub.Login(user).Password, authenticator)
	case chap, chapOwn:
		challenge := authenticator[:]
		if m == chapOwn {
			own := mix(s.seed - n)
			challenge = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, own), ^own)
			dst = radpkt.Attr(dst, radpkt.CHAPChallenge, challenge)
		}
		response := radpkt.CHAP(byte(n), stub.Login(user).Password, challenge)
		dst = radpkt.Attr(dst, radpkt.CHAPPassword, append([]byte{byte(n)}, response[:]...))
	case acct:
		dst = radpkt.AttrUint32(dst, radpkt.AcctStatusType, s.status(n))
		s.user = s.session(s.user[:0], n)
		dst = radpkt.Attr(dst, radpkt.AcctSessionID, s.user)
		dst = radpkt.AttrUint32(dst, radpkt.AcctSessionTime, uint32(n&0xffff))
		dst = radpkt.AttrUint32(dst, radpkt.AcctDelayTime, 0)
	}
	dst = radpkt.AttrString(dst, radpkt.NASIdentifier, s.c.NAS)
	dst = radpkt.AttrUint32(dst, radpkt.NASPort, uint32(n&0xffff))
	dst = radpkt.AttrString(dst, radpkt.CallingStationID, "line-"+user)
	s.keyer.SignRequest(dst, authenticator)
	s.authenticators[slot] = [16]byte(dst[4:radpkt.HeaderSize])
	return dst
}

// check verifies a reply and compares it with what the user's name asks for.
func (s *subscribers) check(reply []byte, n, slot uint64, _ uint16) (Fate, string) {
	packet, err := radpkt.Parse(reply)
	if err != nil {
		return Malformed, err.Error()
	}
	m := s.method(n)
	if err := s.keyer.CheckReply(packet, s.authenticators[slot], m != acct && !s.c.Lax); err != nil {
		return WrongSignature, fmt.Sprintf("code %d: %v", packet[0], err)
	}
	user := s.userOf(n)
	account := stub.Login(user)
	want := byte(radpkt.AccessAccept)
	switch {
	case m == acct:
		want = radpkt.AccountingResponse
	case account.Verdict == stub.Reject:
		want = radpkt.AccessReject
	case account.Verdict == stub.Challenge:
		want = radpkt.AccessChallenge
	}
	if packet[0] != want {
		return WrongVerdict, fmt.Sprintf("%s: code %d instead of %d", user, packet[0], want)
	}
	if radpkt.Count(packet, radpkt.ProxyState) > 0 {
		return WrongReply, user + ": a Proxy-State that is not ours"
	}
	if framed := radpkt.Find(packet, radpkt.FramedIPAddress); want == radpkt.AccessAccept && string(framed) != string(account.Framed[:]) {
		return WrongReply, fmt.Sprintf("%s: Framed-IP-Address %v instead of %v", user, framed, account.Framed)
	}
	return Right, ""
}
