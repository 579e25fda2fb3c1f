package spool

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A segment is a row of frames, big-endian:
//
//	 0  4  "SpR1"
//	 4  4  CRC-32C over the spool's salt and all that follows
//	 8  4  length of the payload
//	12  1  kind
//	13  1  class of a record
//	14  2  zero
//	16  8  number of the record; of a note that records are over, the highest that was given
//	24  8  when it was stored, Unix nanoseconds; of a note, when it was taken: what was over
//	       before stands in it, or in one before it
//	32  8  session
//	40  4  queue
//	44     payload
//
// The salt makes sure that bytes which a NAS sent are never taken for a frame
// when a reader looks for the next one behind damage.
const (
	magic     = "SpR1"
	headerLen = 44
	// maxPayload bounds what a reader believes: a RADIUS packet and what is kept
	// with it, or the numbers of one note.
	maxPayload = 1 << 16
	saltLen    = 8
)

type kind uint8

const (
	kindRecord kind = 1 // payload: the record's data
	kindAside  kind = 2 // a record that is set aside, when it was copied forward
	kindDone   kind = 3 // payload: numbers of records that are over, 8 bytes each
	kindMove   kind = 4 // class 1: the record number is set aside; 0: it is back in its queue
)

type frame struct {
	kind    kind
	class   Class
	id      uint64
	at      int64
	session uint64
	queue   uint32
	payload []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(salt *[saltLen]byte, b []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, salt[:]), castagnoli, b)
}

// appendFrame writes f behind b.
func appendFrame(b []byte, salt *[saltLen]byte, f *frame) []byte {
	start := len(b)
	b = append(b, magic...)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.payload)))
	b = append(b, byte(f.kind), byte(f.class), 0, 0)
	b = binary.BigEndian.AppendUint64(b, f.id)
	b = binary.BigEndian.AppendUint64(b, uint64(f.at))
	b = binary.BigEndian.AppendUint64(b, f.session)
	b = binary.BigEndian.AppendUint32(b, f.queue)
	b = append(b, f.payload...)
	binary.BigEndian.PutUint32(b[start+4:], checksum(salt, b[start+8:]))
	return b
}

// parseFrame reads the frame at the beginning of b. size is 0 when there is no
// sound one; claimed is then the length that the damaged one says it has, if
// that is believable and inside b, else 0.
func parseFrame(b []byte, salt *[saltLen]byte) (f frame, size, claimed int) {
	if len(b) < headerLen {
		return f, 0, 0
	}
	n := int(binary.BigEndian.Uint32(b[8:]))
	if n > maxPayload || headerLen+n > len(b) {
		return f, 0, 0
	}
	total := headerLen + n
	if string(b[:4]) != magic || binary.BigEndian.Uint32(b[4:]) != checksum(salt, b[8:total]) {
		return f, 0, total
	}
	f = frame{
		kind: kind(b[12]), class: Class(b[13]), id: binary.BigEndian.Uint64(b[16:]), at: int64(binary.BigEndian.Uint64(b[24:])),
		session: binary.BigEndian.Uint64(b[32:]), queue: binary.BigEndian.Uint32(b[40:]), payload: b[headerLen:total],
	}
	return f, total, 0
}

// damage is a stretch of a segment that is not what was written.
type damage struct{ from, to int }

// scan calls each for every sound frame of a segment, with its offset and
// size, and returns what lies between them.
func scan(b []byte, salt *[saltLen]byte, each func(f *frame, off, size int)) []damage {
	var out []damage
	for off := 0; off < len(b); {
		f, size, claimed := parseFrame(b[off:], salt)
		if size > 0 {
			each(&f, off, size)
			off += size
			continue
		}
		end := resume(b, salt, off, claimed)
		out = append(out, damage{off, end})
		off = end
	}
	return out
}

// resume finds where the next frame begins behind a damaged one: where that one
// said it ends, if something of a frame stands there, else the next sound one.
func resume(b []byte, salt *[saltLen]byte, off, claimed int) int {
	if claimed > 0 {
		next := off + claimed
		if next == len(b) || bytes.HasPrefix(b[next:], []byte(magic)) {
			return next
		}
	}
	for at := off + 1; at < len(b); {
		i := bytes.Index(b[at:], []byte(magic))
		if i < 0 {
			break
		}
		at += i
		if _, size, _ := parseFrame(b[at:], salt); size > 0 {
			return at
		}
		at++
	}
	return len(b)
}
