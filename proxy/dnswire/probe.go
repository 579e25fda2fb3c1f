package dnswire

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

const (
	probeRandom = 12 // octets of the nonce that are random
	probeMAC    = 16 // octets of the MAC behind them
	probeLabel  = 2 * (probeRandom + probeMAC)
)

// probeZone is `probe.sereno.` on the wire.
var probeZone = []byte("\x05probe\x06sereno\x00")

// ProbeKey lets one process prove to itself that an address is its own: it asks
// CH TXT NONCE.probe.sereno. there, and only who has the key can tell an own question
// from a stranger's, and can answer it. The key never leaves the process.
type ProbeKey [32]byte

// NewProbeKey returns a random key.
func NewProbeKey() (k ProbeKey) {
	rand.Read(k[:])
	return k
}

// Question returns a new query and its nonce (the first label of its name).
func (k *ProbeKey) Question() (msg []byte, nonce string) {
	var raw [2 + probeRandom + probeMAC]byte
	rand.Read(raw[:2+probeRandom])
	k.mac(raw[2+probeRandom:2+probeRandom], 'q', raw[2:2+probeRandom])
	nonce = hex.EncodeToString(raw[2:])
	msg = make([]byte, 0, 96)
	msg = append(msg, raw[0], raw[1], 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, probeLabel)
	msg = append(msg, nonce...)
	msg = append(msg, probeZone...)
	return append(msg, 0, TypeTXT, 0, ClassCH), nonce
}

// IsProbe tells cheaply whether a parsed query has the form of a probe. Its MAC may
// still be wrong.
func IsProbe(m []byte, q *Query) bool {
	return q.Class == ClassCH && q.Type == TypeTXT && q.NameLen == 1+probeLabel+len(probeZone) &&
		m[HeaderLen] == probeLabel && EqualFold(m[HeaderLen+1+probeLabel:HeaderLen+q.NameLen], probeZone)
}

// Answer answers a query of this key's own. ok is false for anything else: strangers
// learn nothing from it.
func (k *ProbeKey) Answer(query []byte) (msg []byte, ok bool) {
	var q Query
	if ParseQuery(query, &q) != OK || !IsProbe(query, &q) {
		return nil, false
	}
	var raw [probeRandom + probeMAC]byte
	label := query[HeaderLen+1 : HeaderLen+1+probeLabel]
	if _, err := hex.Decode(raw[:], label); err != nil {
		return nil, false
	}
	var mac [probeMAC]byte
	if !hmac.Equal(k.mac(mac[:0], 'q', raw[:probeRandom]), raw[probeRandom:]) {
		return nil, false
	}
	msg = AppendReply(make([]byte, 0, 192), query, &q, FlagAA, NoError)
	return AppendRR(msg, TypeTXT, ClassCH, 0, AppendTXT(nil, k.proof(raw[:]))), true
}

// Verify tells whether answer is this key's answer to query.
func (k *ProbeKey) Verify(query, answer []byte) bool {
	var q Query
	var r Reply
	if ParseQuery(query, &q) != OK || !IsProbe(query, &q) || ParseReply(answer, &r) != nil {
		return false
	}
	var raw [probeRandom + probeMAC]byte
	if _, err := hex.Decode(raw[:], query[HeaderLen+1:HeaderLen+1+probeLabel]); err != nil {
		return false
	}
	if r.ID != q.ID || r.Rcode != NoError || r.Matching != 1 || len(r.TTLs) != 1 || r.NameLen != q.NameLen || r.Type != q.Type || r.Class != q.Class ||
		!EqualFold(answer[HeaderLen:HeaderLen+r.NameLen], q.Name(query)) {
		return false
	}
	at := int(r.TTLs[0]) + 4
	want := AppendTXT(nil, k.proof(raw[:]))
	return int(binary.BigEndian.Uint16(answer[at:])) == len(want) && hmac.Equal(answer[at+2:at+2+len(want)], want)
}

// proof is what the answer to a nonce says.
func (k *ProbeKey) proof(nonce []byte) string {
	return hex.EncodeToString(k.mac(nil, 'a', nonce))
}

// mac appends the first probeMAC octets of an HMAC over a purpose and data to dst.
func (k *ProbeKey) mac(dst []byte, purpose byte, data []byte) []byte {
	h := hmac.New(sha256.New, k[:])
	h.Write([]byte{purpose})
	h.Write(data)
	return append(dst, h.Sum(nil)[:probeMAC]...)
}
