package radiusfront

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"sereno/proxy/radwire"
)

// SpooledRecord is one record of the spool, read.
type SpooledRecord struct {
	NAS     netip.Addr
	Pool    string
	Packet  []byte // as the NAS sent it; what it hides may be hidden under another key
	Session string // Acct-Session-Id
	User    string // User-Name
	Type    string // Acct-Status-Type: Start, Interim-Update, Stop, …, or its number
}

// ReadSpooled reads the data of a record that Spool gave. The packet shares its
// memory.
func ReadSpooled(data []byte) (SpooledRecord, error) {
	p, err := parseParcel(data)
	if err != nil {
		return SpooledRecord{}, err
	}
	var ix radwire.Index
	if p.packet, err = radwire.Walk(p.packet, &ix); err != nil {
		return SpooledRecord{}, fmt.Errorf("reading a spooled record: %w", err)
	}
	out := SpooledRecord{
		NAS: p.nas, Pool: p.pool, Packet: p.packet,
		Session: string(ix.FirstValue(p.packet, radwire.AttrAcctSessionID)), User: string(ix.FirstValue(p.packet, radwire.AttrUserName)),
	}
	if v := ix.FirstValue(p.packet, radwire.AttrAcctStatusType); len(v) == 4 {
		out.Type = radwire.ValueName(radwire.AttrAcctStatusType, binary.BigEndian.Uint32(v))
	}
	return out, nil
}

// Attributes are the packet's in words, secrets masked.
func (r SpooledRecord) Attributes() []radwire.Attribute { return radwire.Text(r.Packet) }
