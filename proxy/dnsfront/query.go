package dnsfront

import "sereno/proxy/dnswire"

// query is what is read of a query before anything is decided about it. It is reused.
type query struct {
	problem dnswire.Problem
	q       dnswire.Query
	key     []byte // canonical question, client subnet if it is forwarded, the octet of flags
	hash    uint64 // of key
	kbuf    [maxKey]byte
}

// read reads a query; the key is that of its question without a client subnet, and empty
// if there is a problem. It does nothing else, so that a batch can be read ahead of what
// is then done about each of its queries.
func (s *Service) read(x *query, m []byte) {
	x.key = x.kbuf[:0]
	if x.problem = dnswire.ParseQuery(m, &x.q); x.problem == dnswire.OK {
		x.key = append(x.q.AppendKey(x.key, m), keyFlags(&x.q))
		x.hash = s.hash(x.key)
	}
}

// keyFlags is the last octet of a question's key.
func keyFlags(q *dnswire.Query) (f byte) {
	if q.OPT.DO {
		f |= keyDO
	}
	if q.CD() {
		f |= keyCD
	}
	if q.RD() {
		f |= keyRD
	}
	return f
}
