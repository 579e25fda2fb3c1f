package dnswire

import "encoding/binary"

// Option codes (RFC 5001, 7871, 7873, 7828, 7830, 8914).
const (
	OptionNSID      = 3
	OptionECS       = 8
	OptionCookie    = 10
	OptionKeepalive = 11
	OptionPadding   = 12
	OptionEDE       = 15
)

// Extended error codes (RFC 8914 §4).
const (
	EDEOther              = 0
	EDEStaleAnswer        = 3
	EDEBlocked            = 15
	EDECensored           = 16
	EDEFiltered           = 17
	EDEProhibited         = 18
	EDEStaleNXDomain      = 19
	EDENoReachable        = 22
	EDENetworkError       = 23
	optionHeaderLen       = 4
	ednsFlagDO       uint = 1 << 15
)

// Span is a run of octets in a message. Zero when there is none.
type Span struct{ Off, Len int }

// In returns the octets of the span.
func (s Span) In(m []byte) []byte { return m[s.Off : s.Off+s.Len] }

// OPT is the OPT record of a message (RFC 6891 §6.1). The spans of options cover
// their data without code and length; their zero value means absent, except that
// an option may be present and empty: the Has… fields tell.
type OPT struct {
	Present  bool
	DO       bool
	Version  uint8
	ExtRcode uint8  // upper eight bits of the rcode
	UDPSize  uint16 // as sent; RFC 6891 §6.2.3: below 512 means 512
	Record   Span   // the whole record with its root name
	Data     Span   // all options

	HasCookie, HasECS, HasNSID, HasKeepalive, HasPadding bool
	Cookie, ECS                                          Span
}

// parseOPT reads the OPT record whose root name is at off and whose RDATA is at
// data. It reports false if an option does not fit or stands twice where that
// makes its meaning unclear (cookie, client subnet).
func parseOPT(m []byte, off, data, length int, o *OPT) bool {
	o.Present = true
	o.UDPSize = binary.BigEndian.Uint16(m[off+3:])
	o.ExtRcode, o.Version = m[off+5], m[off+6]
	o.DO = m[off+7]&0x80 != 0
	o.Record = Span{off, data + length - off}
	o.Data = Span{data, length}
	for i, end := data, data+length; i < end; {
		if i+optionHeaderLen > end {
			return false
		}
		code := binary.BigEndian.Uint16(m[i:])
		n := int(binary.BigEndian.Uint16(m[i+2:]))
		i += optionHeaderLen
		if i+n > end {
			return false
		}
		switch code {
		case OptionCookie:
			if o.HasCookie {
				return false
			}
			o.HasCookie, o.Cookie = true, Span{i, n}
		case OptionECS:
			if o.HasECS {
				return false
			}
			o.HasECS, o.ECS = true, Span{i, n}
		case OptionNSID:
			o.HasNSID = true
		case OptionKeepalive:
			o.HasKeepalive = true
		case OptionPadding:
			o.HasPadding = true
		}
		i += n
	}
	return true
}

// EachOption calls f with every option of a span of options that was parsed before,
// until f returns false. data shares the span's memory.
func EachOption(options []byte, f func(code uint16, data []byte) bool) {
	for len(options) >= optionHeaderLen {
		n := int(binary.BigEndian.Uint16(options[2:]))
		if optionHeaderLen+n > len(options) || !f(binary.BigEndian.Uint16(options), options[optionHeaderLen:optionHeaderLen+n]) {
			return
		}
		options = options[optionHeaderLen+n:]
	}
}

// appendOPT appends an OPT record (RFC 6891 §6.1.2) with the given options, which are
// encoded already and have at most 65535 octets in all. The count of additional records is
// the caller's to raise.
func appendOPT(dst []byte, udpSize uint16, extRcode uint8, do bool, options []byte) []byte {
	var flags byte
	if do {
		flags = 0x80
	}
	dst = append(dst, 0, 0, TypeOPT, byte(udpSize>>8), byte(udpSize), extRcode, 0, flags, 0,
		byte(len(options)>>8), byte(len(options)))
	return append(dst, options...)
}

// SetOptionsLen tells the OPT record at the end of m, whose options begin at off, how long
// they are now.
func SetOptionsLen(m []byte, off int) {
	binary.BigEndian.PutUint16(m[off-2:], uint16(len(m)-off)) //nolint:gosec // options are shorter than a message
}

// AppendOption appends one option. data has at most 65535 octets; who appends it minds
// the length of the message.
func AppendOption(dst []byte, code uint16, data []byte) []byte {
	dst = append(dst, byte(code>>8), byte(code), byte(len(data)>>8), byte(len(data)))
	return append(dst, data...)
}

// AppendEDE appends an extended error (RFC 8914 §2) with a text, UTF-8, that may be empty
// and is short enough for an option.
func AppendEDE(dst []byte, code uint16, text string) []byte {
	n := 2 + len(text)
	dst = append(dst, 0, OptionEDE, byte(n>>8), byte(n), byte(code>>8), byte(code))
	return append(dst, text...)
}
