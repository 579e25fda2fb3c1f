package pool

// MaxAttempts is the most backends that one request may try.
const MaxAttempts = 8

// Tried is the backends that one request has been given. The zero value is
// empty; it allocates nothing and may be copied. Not safe for concurrent use.
type Tried struct {
	backends [MaxAttempts]*Backend
	n        int
	silent   bool // those that are silent count as tried
}

// Add notes a backend. Pick does it for what it returns; a front adds what it
// chose otherwise. Adding twice counts once; more than MaxAttempts are forgotten.
func (t *Tried) Add(b *Backend) {
	if t.n < len(t.backends) && !t.Has(b) {
		t.backends[t.n] = b
		t.n++
	}
}

// Has tells whether the backend was tried.
func (t *Tried) Has(b *Backend) bool {
	for _, other := range t.backends[:t.n] {
		if other == b {
			return true
		}
	}
	return t.silent && b.silent()
}

// Len is how many were tried.
func (t *Tried) Len() int { return t.n }

// Reset empties it.
func (t *Tried) Reset() { *t = Tried{} }
