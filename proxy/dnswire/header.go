package dnswire

import "encoding/binary"

// Sizes in octets (RFC 1035 §2.3.4, §4.1.1; RFC 6891 §6.1.2).
const (
	HeaderLen    = 12
	MaxName      = 255 // a name on the wire, with its length octets and the root
	MaxLabel     = 63
	MaxMessage   = 65535
	OPTLen       = 11  // an OPT record without options
	MinUDP       = 512 // what every client takes
	rrFixedLen   = 10  // type, class, TTL and length of a record, after its name
	questionTail = 4   // type and class of a question, after its name
)

// Bits of the flags word, the second 16 bits of the header (RFC 1035 §4.1.1, RFC 4035 §3).
const (
	FlagQR     = 1 << 15
	FlagAA     = 1 << 10
	FlagTC     = 1 << 9
	FlagRD     = 1 << 8
	FlagRA     = 1 << 7
	FlagAD     = 1 << 5
	FlagCD     = 1 << 4
	OpcodeMask = 0xf << 11
	RcodeMask  = 0xf
)

// Rcodes (RFC 1035 §4.1.1, RFC 6891 §9).
const (
	NoError  = 0
	FormErr  = 1
	ServFail = 2
	NXDomain = 3
	NotImp   = 4
	Refused  = 5
	BadVers  = 16
)

// Types that a proxy must know.
const (
	TypeA     = 1
	TypeNS    = 2
	TypeCNAME = 5
	TypeSOA   = 6
	TypePTR   = 12
	TypeTXT   = 16
	TypeAAAA  = 28
	TypeDNAME = 39
	TypeOPT   = 41
	TypeSVCB  = 64
	TypeIXFR  = 251
	TypeAXFR  = 252
	TypeANY   = 255
)

// Classes (RFC 1035 §3.2.4, RFC 2136).
const (
	ClassIN = 1
	ClassCH = 3
)

// ID returns the message's ID. m must hold a header, as for all of these.
func ID(m []byte) uint16 { return binary.BigEndian.Uint16(m) }

// SetID sets the message's ID.
func SetID(m []byte, id uint16) { binary.BigEndian.PutUint16(m, id) }

// Flags returns the flags word.
func Flags(m []byte) uint16 { return binary.BigEndian.Uint16(m[2:]) }

// SetFlags sets the flags word.
func SetFlags(m []byte, f uint16) { binary.BigEndian.PutUint16(m[2:], f) }

// QDCount returns the number of questions that the header promises.
func QDCount(m []byte) int { return int(binary.BigEndian.Uint16(m[4:])) }

// ANCount returns the number of answer records that the header promises.
func ANCount(m []byte) int { return int(binary.BigEndian.Uint16(m[6:])) }

// NSCount returns the number of authority records that the header promises.
func NSCount(m []byte) int { return int(binary.BigEndian.Uint16(m[8:])) }

// ARCount returns the number of additional records that the header promises.
func ARCount(m []byte) int { return int(binary.BigEndian.Uint16(m[10:])) }

// SetCounts sets the four counts.
func SetCounts(m []byte, qd, an, ns, ar int) {
	binary.BigEndian.PutUint16(m[4:], uint16(qd))
	binary.BigEndian.PutUint16(m[6:], uint16(an))
	binary.BigEndian.PutUint16(m[8:], uint16(ns))
	binary.BigEndian.PutUint16(m[10:], uint16(ar))
}
