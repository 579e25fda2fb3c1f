package dnswire

// AppendReply appends to dst, which must be empty and is where the message starts,
// the beginning of an answer to query m: the header with the client's ID, opcode, RD
// and CD, the given flags and the lower bits of rcode, and the question as the client
// wrote it (RFC 1035 §4.1.1). A query whose question could not be read gets a header
// alone. dst's capacity must suffice, or it is moved.
func AppendReply(dst, m []byte, q *Query, flags uint16, rcode int) []byte {
	f := FlagQR | q.Flags&(OpcodeMask|FlagRD|FlagCD) | flags | uint16(rcode)&RcodeMask
	qd := byte(0)
	if q.NameLen > 0 {
		qd = 1
	}
	dst = append(dst, byte(q.ID>>8), byte(q.ID), byte(f>>8), byte(f), 0, qd, 0, 0, 0, 0, 0, 0)
	return append(dst, q.Question(m)...)
}

// AddOPT appends an OPT record to the message m, which starts at its first octet, and
// counts it. rcode's upper bits go into it; options are already encoded.
func AddOPT(m []byte, udpSize int, rcode int, do bool, options []byte) []byte {
	ar := ARCount(m) + 1
	m[10], m[11] = byte(ar>>8), byte(ar)
	return appendOPT(m, uint16(udpSize), uint8(rcode>>4), do, options)
}

// AppendUpstream appends to dst, which must be empty, a query of our own: key is the
// question in its canonical form, flags are RD and CD as the client's; AD is set so
// that the backend tells what it validated (RFC 6840 §5.7). options are forwarded
// EDNS options, already encoded.
func AppendUpstream(dst, key []byte, id, flags uint16, udpSize uint16, do bool, options []byte) []byte {
	f := flags&(FlagRD|FlagCD) | FlagAD
	dst = append(dst, byte(id>>8), byte(id), byte(f>>8), byte(f), 0, 1, 0, 0, 0, 0, 0, 1)
	dst = append(dst, key...)
	return appendOPT(dst, udpSize, 0, do, options)
}

// AppendRR appends a record whose owner is the question's name (a pointer to it) and
// counts it in the answer section. Only for messages without other sections yet.
func AppendRR(m []byte, typ, class uint16, ttl uint32, rdata []byte) []byte {
	an := ANCount(m) + 1
	m[6], m[7] = byte(an>>8), byte(an)
	m = append(m, 0xc0, HeaderLen, byte(typ>>8), byte(typ), byte(class>>8), byte(class),
		byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl), byte(len(rdata)>>8), byte(len(rdata)))
	return append(m, rdata...)
}

// AppendTXT appends one character string (RFC 1035 §3.3.14), cut at 255 octets.
func AppendTXT(dst []byte, s string) []byte {
	if len(s) > 255 {
		s = s[:255]
	}
	dst = append(dst, byte(len(s)))
	return append(dst, s...)
}
