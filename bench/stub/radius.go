package stub

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"sereno/bench/internal/radpkt"
	"sereno/proxy/udp"
)

// RADIUSConfig says where a RADIUS server listens and what it demands.
type RADIUSConfig struct {
	Name   string         // in its State attributes: a State of another server is refused
	Auth   netip.AddrPort // port 0: any free one
	Acct   netip.AddrPort
	Secret []byte
	Demand bool   // an Access-Request without Message-Authenticator is dropped, as patched servers do (CVE-2024-3596)
	Books  *Books // nil: its own
	Plain  bool   // udp's single-packet path
}

// RADIUSStats are the books of a RADIUS server since its start. What was dropped for being wrong points at the
// front, and a test demands zeros there.
type RADIUSStats struct {
	Requests   uint64 // datagrams read
	Accepts    uint64
	Rejects    uint64
	Challenges uint64
	Accounting uint64 // Accounting-Requests answered
	Status     uint64 // Status-Server answered
	Faults     uint64 // requests that met the Mode's fault

	Malformed           uint64 // dropped: does not parse, or a code that does not belong to the port
	WrongAuthenticator  uint64 // dropped: Request Authenticator
	WrongMessage        uint64 // dropped: Message-Authenticator wrong, or missing where it is demanded
	WrongPassword       uint64 // rejected: a password that is not the user's
	ForeignState        uint64 // rejected: a State that another server issued
	NotMessageAuthFirst uint64 // Access-Requests whose Message-Authenticator was not the first attribute
}

// RADIUS is a simulated RADIUS server for authentication and accounting over
// UDP. See Login for whom it knows, and Mode for how it fails.
type RADIUS struct {
	config     RADIUSConfig
	auth, acct netip.AddrPort
	mode       [2]atomic.Pointer[Mode] // by role
	requests   atomic.Uint64
	late       atomic.Int64
	books      *Books

	mu      sync.Mutex // opening and closing, which waits for who publishes
	servers [2]*server
	shut    bool

	published sync.Mutex
	stats     RADIUSStats
}

// Role tells a RADIUS server's two ports apart.
type Role uint8

// The roles.
const (
	Auth Role = iota
	Acct
)

// NewRADIUS opens the sockets and answers until Close.
func NewRADIUS(c RADIUSConfig) (*RADIUS, error) {
	s := &RADIUS{config: c, auth: c.Auth, acct: c.Acct, books: c.Books}
	if s.books == nil {
		s.books = NewBooks()
	}
	for role := range s.mode {
		s.mode[role].Store(&Mode{})
		if err := s.open(Role(role)); err != nil {
			return nil, errors.Join(fmt.Errorf("starting simulated RADIUS server: %w", err), s.Close())
		}
	}
	return s, nil
}

// Addr is where a role is answered; it stays the same while the port is closed.
func (s *RADIUS) Addr(role Role) netip.AddrPort {
	if role == Acct {
		return s.acct
	}
	return s.auth
}

// Books are where its accounting goes.
func (s *RADIUS) Books() *Books { return s.books }

// Mode is a role's present one.
func (s *RADIUS) Mode(role Role) Mode { return *s.mode[role].Load() }

// Set changes the mode of both roles, as SetRole does.
func (s *RADIUS) Set(m Mode) error { return errors.Join(s.SetRole(Auth, m), s.SetRole(Acct, m)) }

// SetRole changes the mode of one role. When it returns the new mode holds for everything that is read from then
// on, and the port is closed or open as it says. The error is one of opening the port again.
func (s *RADIUS) SetRole(role Role, m Mode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return net.ErrClosed
	}
	if m.Fault == Closed {
		s.mode[role].Store(&m)
		return s.close(role)
	}
	if s.servers[role] == nil {
		if err := s.open(role); err != nil {
			return fmt.Errorf("opening simulated RADIUS server again: %w", err)
		}
	}
	s.mode[role].Store(&m)
	return nil
}

// Stats gives the books of packets.
func (s *RADIUS) Stats() RADIUSStats {
	s.published.Lock()
	defer s.published.Unlock()
	return s.stats
}

// Close stops it for good.
func (s *RADIUS) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
	return errors.Join(s.close(Auth), s.close(Acct))
}

func (s *RADIUS) open(role Role) error {
	addr := &s.auth
	if role == Acct {
		addr = &s.acct
	}
	server, err := listen(&radiusUDP{s: s, role: role, keyer: radpkt.NewKeyer(s.config.Secret)}, s.config.Plain, *addr)
	if err != nil {
		return err
	}
	*addr, s.servers[role] = server.conns[0].LocalAddr(), server
	return nil
}

func (s *RADIUS) close(role Role) error {
	server := s.servers[role]
	if server == nil {
		return nil
	}
	s.servers[role] = nil
	return server.close()
}

// radiusUDP answers one role on one Group.
type radiusUDP struct {
	s       *RADIUS
	role    Role
	keyer   *radpkt.Keyer
	stats   RADIUSStats // since the last Flush
	scratch []byte
	shown   []byte
	proof   []byte // MS-CHAP2-Success of the login at hand; empty: none
}

// Receive answers a batch.
func (h *radiusUDP) Receive(c *udp.Conn, batch []udp.Packet) {
	m := h.s.Mode(h.role)
	for _, p := range batch {
		h.stats.Requests++
		request, err := radpkt.Parse(p.Data)
		if err != nil || !h.belongs(request[0]) {
			h.stats.Malformed++
			continue
		}
		need := request[0] == radpkt.StatusServer || h.s.config.Demand && request[0] == radpkt.AccessRequest
		if err := h.keyer.CheckRequest(request, need); err != nil {
			if errors.Is(err, radpkt.ErrAuthenticator) {
				h.stats.WrongAuthenticator++
			} else {
				h.stats.WrongMessage++
			}
			continue
		}
		h.scratch = h.answer(h.scratch[:0], request, m)
		if len(h.scratch) > 0 {
			send(c, h.scratch, p.Dest, m.Delay, &h.s.late)
		}
	}
}

// Flush publishes the counters.
func (h *radiusUDP) Flush() {
	if h.stats == (RADIUSStats{}) {
		return
	}
	h.s.published.Lock()
	h.s.stats.add(h.stats)
	h.s.published.Unlock()
	h.stats = RADIUSStats{}
}

func (s *RADIUSStats) add(o RADIUSStats) {
	s.Requests += o.Requests
	s.Accepts += o.Accepts
	s.Rejects += o.Rejects
	s.Challenges += o.Challenges
	s.Accounting += o.Accounting
	s.Status += o.Status
	s.Faults += o.Faults
	s.Malformed += o.Malformed
	s.WrongAuthenticator += o.WrongAuthenticator
	s.WrongMessage += o.WrongMessage
	s.WrongPassword += o.WrongPassword
	s.ForeignState += o.ForeignState
	s.NotMessageAuthFirst += o.NotMessageAuthFirst
}

// belongs says whether the code belongs to the port (RFC 2865 §3, 2866 §3, 5997 §2).
func (h *radiusUDP) belongs(code byte) bool {
	if code == radpkt.StatusServer {
		return true
	}
	return code == radpkt.AccessRequest && h.role == Auth || code == radpkt.AccountingRequest && h.role == Acct
}

// answer appends the reply as the mode has it to dst; nothing when there is none.
func (h *radiusUDP) answer(dst, request []byte, m Mode) []byte {
	fault := Healthy
	if m.meets(h.s.requests.Add(1)) && (m.Fault != ProbesOnly || request[0] != radpkt.StatusServer) {
		fault = m.Fault
		h.stats.Faults++
	}
	if fault == Silent || fault == ProbesOnly {
		return dst
	}
	code := byte(radpkt.AccessAccept)
	var account Account
	var state []byte
	switch request[0] {
	case radpkt.AccessRequest:
		if len(request) == radpkt.HeaderSize || request[radpkt.HeaderSize] != radpkt.MessageAuthenticator {
			h.stats.NotMessageAuthFirst++
		}
		code, account, state = h.login(request)
		if fault == Rejects {
			code = radpkt.AccessReject
		}
	case radpkt.AccountingRequest:
		code = radpkt.AccountingResponse
		if !h.book(request) {
			return dst
		}
	case radpkt.StatusServer:
		h.stats.Status++
		if h.role == Acct {
			code = radpkt.AccountingResponse
		}
	}
	if code == 0 {
		return dst
	}
	dst = radpkt.Start(dst, code, request[1])
	if fault != NoMessageAuthenticator {
		dst = radpkt.Attr(dst, radpkt.MessageAuthenticator, make([]byte, 16))
	}
	dst = h.attributes(dst, code, request[0], account, state)
	dst = copyProxyStates(dst, request)
	h.keyer.SignReply(dst, [16]byte(request[4:radpkt.HeaderSize]))
	if fault == WrongAuthenticator {
		dst[4] ^= 0x55
	}
	return dst
}

// attributes appends what a reply says.
func (h *radiusUDP) attributes(dst []byte, code, asked byte, account Account, state []byte) []byte {
	switch code {
	case radpkt.AccessAccept:
		if asked == radpkt.StatusServer {
			return dst
		}
		h.stats.Accepts++
		if len(h.proof) > 0 {
			dst = radpkt.AttrMicrosoft(dst, radpkt.MSCHAP2Success, h.proof)
		}
		dst = radpkt.Attr(dst, radpkt.FramedIPAddress, account.Framed[:])
		dst = radpkt.Attr(dst, radpkt.Class, hex.AppendEncode(nil, binary.BigEndian.AppendUint64(nil, account.SessionID)))
		dst = radpkt.AttrUint32(dst, radpkt.SessionTimeout, 86400)
	case radpkt.AccessReject:
		h.stats.Rejects++
		dst = radpkt.AttrString(dst, radpkt.ReplyMessage, "wrong user or password")
	case radpkt.AccessChallenge:
		h.stats.Challenges++
		dst = radpkt.AttrString(dst, radpkt.ReplyMessage, "and the second password?")
		dst = radpkt.Attr(dst, radpkt.State, state)
	}
	return dst
}

// copyProxyStates appends the request's Proxy-States in their order (RFC 2865 §5.33).
func copyProxyStates(dst, request []byte) []byte {
	for off := radpkt.HeaderSize; off < len(request); off += int(request[off+1]) {
		if request[off] == radpkt.ProxyState {
			dst = append(dst, request[off:off+int(request[off+1])]...)
		}
	}
	return dst
}

// login decides on an Access-Request; code 0: silence.
func (h *radiusUDP) login(request []byte) (code byte, account Account, state []byte) {
	user := string(radpkt.Find(request, radpkt.UserName))
	account = Login(user)
	h.proof = h.proof[:0]
	if account.Verdict == NoAnswer {
		return 0, account, nil
	}
	state = append(append([]byte(nil), h.s.config.Name...), '/')
	state = binary.BigEndian.AppendUint64(state, account.SessionID)
	password := account.Password
	if returned := radpkt.Find(request, radpkt.State); account.Verdict == Challenge && returned != nil {
		if string(returned) != string(state) {
			h.stats.ForeignState++
			return radpkt.AccessReject, account, nil
		}
		password, account.Verdict = account.Second, Accept
	}
	if !h.passwordIs(password, request) {
		h.stats.WrongPassword++
		return radpkt.AccessReject, account, nil
	}
	switch account.Verdict {
	case Reject:
		return radpkt.AccessReject, account, nil
	case Challenge:
		return radpkt.AccessChallenge, account, state
	}
	return radpkt.AccessAccept, account, nil
}

// passwordIs checks PAP (RFC 2865 §5.2) or CHAP (§5.3: without CHAP-Challenge the authenticator is the challenge).
func (h *radiusUDP) passwordIs(password string, request []byte) bool {
	authenticator := request[4:radpkt.HeaderSize]
	if hidden := radpkt.Find(request, radpkt.UserPassword); hidden != nil {
		shown, ok := h.keyer.ShowPassword(h.shown[:0], hidden, authenticator)
		h.shown = shown
		return ok && string(shown) == password
	}
	if own := radpkt.FindMicrosoft(request, radpkt.MSCHAP2Response); own != nil {
		return h.mschapIs(password, request, own)
	}
	response := radpkt.Find(request, radpkt.CHAPPassword)
	if len(response) != 17 {
		return false
	}
	challenge := radpkt.Find(request, radpkt.CHAPChallenge)
	if challenge == nil {
		challenge = authenticator
	}
	return [16]byte(response[1:]) == radpkt.CHAP(response[0], password, challenge)
}

// mschapIs checks MS-CHAPv2 (RFC 2548 §2.3.2, RFC 2759 §5), and keeps what the Access-Accept proves.
func (h *radiusUDP) mschapIs(password string, request, own []byte) bool {
	challenge := radpkt.FindMicrosoft(request, radpkt.MSCHAPChallenge)
	if len(own) != 50 || len(challenge) != 16 {
		return false
	}
	response, success := radpkt.MSCHAPv2(string(radpkt.Find(request, radpkt.UserName)), password, [16]byte(challenge), [16]byte(own[2:18]))
	h.proof = append(append(h.proof[:0], own[0]), success...)
	return [24]byte(own[26:]) == response
}

// book enters an Accounting-Request; false: it names no session, and nobody acknowledges such a record.
func (h *radiusUDP) book(request []byte) bool {
	session, status := radpkt.Find(request, radpkt.AcctSessionID), radpkt.Find(request, radpkt.AcctStatusType)
	if session == nil || len(status) != 4 {
		h.stats.Malformed++
		return false
	}
	h.s.books.add(session, binary.BigEndian.Uint32(status))
	h.stats.Accounting++
	return true
}
