package bgp

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// MaxFrame bounds one message between the node and a speaker, in bytes.
const MaxFrame = 4 << 20

// WriteFrame writes v as JSON behind its length (four bytes, big endian), in
// one Write.
func WriteFrame(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding frame: %w", err)
	}
	if len(b) > MaxFrame {
		return fmt.Errorf("encoding frame: %d bytes are more than %d", len(b), MaxFrame)
	}
	frame := make([]byte, 4, 4+len(b))
	binary.BigEndian.PutUint32(frame, uint32(len(b)))
	if _, err := w.Write(append(frame, b...)); err != nil {
		return fmt.Errorf("writing frame: %w", err)
	}
	return nil
}

// ReadFrame reads what WriteFrame wrote into v. io.EOF, unwrapped, is a clean
// end between two frames.
func ReadFrame(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if err == io.EOF {
			return io.EOF
		}
		return fmt.Errorf("reading frame: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxFrame {
		return fmt.Errorf("reading frame: %d bytes are more than %d", n, MaxFrame)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("reading frame: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decoding frame: %w", err)
	}
	return nil
}

// Session is all that a speaker must know of its one session. It is sent to
// the child through the socket, so that the password is in no argument list.
type Session struct {
	Name            string        `json:"name"`
	LocalASN        uint32        `json:"local_asn"`
	RouterID        string        `json:"router_id"`
	Site            uint32        `json:"site"`
	Lease           time.Duration `json:"lease"`
	Listen          string        `json:"listen"` // ADDRESS:PORT, "": only connects out
	Address         netip.Addr    `json:"address"`
	ASN             uint32        `json:"asn"`
	Port            int           `json:"port"`
	Password        string        `json:"password"`
	HoldTime        time.Duration `json:"hold_time"`
	ConnectRetry    time.Duration `json:"connect_retry"`
	MultihopTTL     int           `json:"multihop_ttl"`
	TTLSecurity     int           `json:"ttl_security"`
	Source          string        `json:"source"`
	Family          Family        `json:"family"`
	NextHop         string        `json:"next_hop"`
	MaxReceived     int           `json:"max_received"`
	GracefulRestart bool          `json:"graceful_restart"`
}

// The kinds of orders.
const (
	OrderSession = "session" // first: whom to speak to; later: what a running session can take
	OrderRoutes  = "routes"  // the whole desired set
	OrderBeat    = "beat"    // the set stands
	OrderClose   = "close"   // withdraw everything, end the session, exit
)

// Order is what the node sends to a speaker.
type Order struct {
	Kind string `json:"kind"`
	// Stamp is Uptime, in nanoseconds, at the moment when the node's controller
	// last stood for the set: the lease runs from it, not from when a frame
	// happens to be read, so that an old frame cannot prolong a route's life.
	Stamp   int64    `json:"stamp"`
	Session *Session `json:"session,omitempty"`
	Number  uint64   `json:"number,omitempty"` // of the set; rises with each change
	// Routes is the whole set. Empty withdraws everything; null is a broken
	// message, on which the speaker ends.
	Routes []Route `json:"routes"`
}

// Report is what a speaker sends to the node: at once on a change, and several
// times within a lease.
type Report struct {
	State      string         `json:"state"` // Established or Connecting
	Since      time.Time      `json:"since"`
	Number     uint64         `json:"number"` // the set that was carried out last
	Advertised []netip.Prefix `json:"advertised"`
	Received   int            `json:"received"`
	LastError  string         `json:"last_error"`
	HoldZero   bool           `json:"hold_zero"` // the neighbor proposes a hold time of 0
	Drifts     uint64         `json:"drifts"`    // differences mended so far
	DriftText  string         `json:"drift_text"`
	Margin     time.Duration  `json:"margin"`      // least time left of the lease since the last report
	OtherSites []netip.Prefix `json:"other_sites"` // own prefixes that another site, not demoted, is seen to announce
}

// sessions resolves the configuration into what each speaker is told.
func sessions(s Settings) []Session {
	out := make([]Session, 0, len(s.BGP.Neighbors))
	for i := range s.BGP.Neighbors {
		n := &s.BGP.Neighbors[i]
		address, _ := netip.ParseAddr(n.Address)
		out = append(out, Session{
			Name: n.Name, LocalASN: s.BGP.ASN, RouterID: s.BGP.RouterID, Site: s.BGP.Site, Lease: s.BGP.Lease, Listen: s.BGP.Listen,
			Address: address, ASN: n.ASN, Port: n.Port, Password: s.Passwords[n.Name],
			HoldTime: n.HoldTime, ConnectRetry: n.ConnectRetry, MultihopTTL: n.MultihopTTL, TTLSecurity: n.TTLSecurity,
			Source: n.Source, Family: n.EffectiveFamily(), NextHop: n.NextHop, MaxReceived: n.MaxReceived, GracefulRestart: n.GracefulRestart,
		})
	}
	return out
}
