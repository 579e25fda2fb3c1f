package dnsfront

import (
	"encoding/binary"
	"net"
)

// pieceSize is how much ordinary answers share, in octets.
const pieceSize = 4 << 10

// outQueue holds answers, each behind its length (RFC 7766 §8), until they are written. They lie in pieces: ordinary ones
// share one, a long one has its own. So what a client does not take needs no more memory than it has octets, and nothing
// is copied as it grows.
//
// It belongs to a connection, whose lock or writer guards it.
type outQueue struct {
	pieces [][]byte
	octets int
}

// push copies an answer to the end.
func (q *outQueue) push(msg []byte) {
	size, last := len(msg)+2, len(q.pieces)-1
	switch {
	case last < 0:
		q.pieces, last = append(q.pieces, make([]byte, 0, size)), 0
	case cap(q.pieces[last])-len(q.pieces[last]) >= size:
	case len(q.pieces[last]) == 0:
		q.pieces[last] = make([]byte, 0, size)
	default:
		q.pieces, last = append(q.pieces, make([]byte, 0, max(size, pieceSize))), last+1
	}
	p := binary.BigEndian.AppendUint16(q.pieces[last], uint16(len(msg))) //nolint:gosec // at most MaxMessage
	q.pieces[last] = append(p, msg...)
	q.octets += size
}

// writeTo writes everything, with one call where the connection can, and leaves the queue empty.
func (q *outQueue) writeTo(c net.Conn) (err error) {
	all := q.pieces
	spare := all[len(all)-1]
	if len(all) == 1 {
		_, err = c.Write(spare)
	} else {
		b := net.Buffers(all)
		_, err = b.WriteTo(c)
	}
	clear(all)
	q.pieces, q.octets = all[:0], 0
	if cap(spare) <= pieceSize {
		q.pieces = append(q.pieces, spare[:0])
	}
	return err
}
