package radiusfront

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"sereno/proxy/radiusfront/spool"
	"sereno/proxy/radwire"
)

// Values of Acct-Status-Type that end something, beside those of RFC 2866 (RFC
// 2867 section 3).
const (
	acctTunnelStop = 10
	acctLinkStop   = 13
)

// acctClass decides how long a record is admitted to a spool that fills up
// (R43). What ends sessions is let in to the last; a status that nobody knows
// counts as a Start.
func acctClass(p []byte, ix *radwire.Index) spool.Class {
	v := ix.FirstValue(p, radwire.AttrAcctStatusType)
	if len(v) != 4 {
		return spool.Start
	}
	switch binary.BigEndian.Uint32(v) {
	case acctInterim:
		return spool.Interim
	case acctStop, acctOn, acctOff, acctTunnelStop, acctLinkStop:
		return spool.Stop
	}
	return spool.Start
}

// acctSession is the number by which records of one session keep their order:
// of the NAS and Acct-Session-Id (R41). Two sessions with the same number would
// only wait for each other. It stands on disk and must never change.
func acctSession(nas netip.Addr, p []byte, ix *radwire.Index) uint64 {
	var b [16 + 253]byte
	a := nas.As16()
	n := copy(b[:], a[:])
	n += copy(b[n:], ix.FirstValue(p, radwire.AttrAcctSessionID))
	return hashBytes(b[:n])
}

// queueOf is the spool's queue of a pool: pools do not wait for one another. It
// stands on disk and must never change.
func queueOf(pool string) uint32 { return uint32(hashBytes([]byte(pool))) }

// parcel is an accounting record as it stands in the spool.
type parcel struct {
	nas      netip.Addr
	pool     string
	userName []byte // replaces User-Name (strip_realm); nil: it stays
	sealed   bool   // what it hides is hidden under the spool's key
	packet   []byte // as the NAS sent it
}

const parcelVersion = 1

var errParcel = errors.New("not a spooled accounting record of this version")

// appendParcel writes: version, 1 if there is a user name plus 2 if it is sealed, the NAS's address (16
// bytes), and each with its length pool (1 byte), user name (1 byte), packet (2).
func appendParcel(b []byte, p *parcel) []byte {
	has := byte(0)
	if p.userName != nil {
		has = 1
	}
	if p.sealed {
		has |= 2
	}
	a := p.nas.As16()
	b = append(b, parcelVersion, has)
	b = append(b, a[:]...)
	b = append(b, byte(len(p.pool)))
	b = append(b, p.pool...)
	b = append(b, byte(len(p.userName)))
	b = append(b, p.userName...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.packet)))
	return append(b, p.packet...)
}

// parseParcel shares b's memory.
func parseParcel(b []byte) (p parcel, err error) {
	take := func(n int) []byte {
		if len(b) < n {
			err, b = errParcel, make([]byte, n)
		}
		out := b[:n]
		b = b[n:]
		return out
	}
	head := take(18)
	if head[0] != parcelVersion {
		return p, errParcel
	}
	p.nas = netip.AddrFrom16([16]byte(head[2:18])).Unmap()
	p.pool = string(take(int(take(1)[0])))
	p.userName = take(int(take(1)[0]))
	if head[1]&1 == 0 {
		p.userName = nil
	}
	p.sealed = head[1]&2 != 0
	p.packet = take(int(binary.BigEndian.Uint16(take(2))))
	if len(b) > 0 {
		err = errParcel
	}
	return p, err
}

// delayed writes the packet p, which comes from Walk with ix, into dst with its
// Acct-Delay-Time raised by seconds, added if absent (R42, RFC 2866 section 5.2).
// Where there is no room for it, or it has a length that no value has, it is
// left. dst has room for 4096 bytes.
func delayed(dst, p []byte, ix *radwire.Index, seconds uint32) []byte {
	out := append(dst[:0], p...)
	if off := ix.First[radwire.AttrAcctDelayTime]; off != 0 {
		if v := radwire.Value(out, off); len(v) == 4 {
			was := binary.BigEndian.Uint32(v)
			binary.BigEndian.PutUint32(v, was+min(seconds, ^uint32(0)-was))
		}
		return out
	}
	if len(out)+6 > radwire.MaxLen {
		return out
	}
	out = radwire.AppendAttribute(out, radwire.AttrAcctDelayTime, binary.BigEndian.AppendUint32(nil, seconds))
	radwire.PutHeader(out, radwire.PacketCode(out), out[1], len(out))
	return out
}
