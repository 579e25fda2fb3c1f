package pool

// Peek lists the backends that Pick would give one request with this hash, attempt by
// attempt, at most n, without taking a slot or counting anything. Only policies that
// fix the order say something, hash and ordered; under the others nobody can foretell
// the next pick: nil. Backends in a slow start are given by ordered as if it were over.
func (p *Pool) Peek(hash uint64, n int) []*Backend {
	s := p.snapshot.Load()
	if s.policy != hashed && s.policy != ordered {
		return nil
	}
	var tried Tried
	var out []*Backend
	for len(out) < min(n, MaxAttempts) {
		b := s.peek(hash, &tried)
		if b == nil {
			break
		}
		tried.Add(b)
		out = append(out, b)
	}
	return out
}

// peek is what Pick would give.
func (s *snapshot) peek(hash uint64, tried *Tried) *Backend {
	for i := range s.tiers {
		t := &s.tiers[i]
		if len(t.entries) == 0 {
			continue
		}
		if i >= firstNotUp && s.anyUp && tried.n == 0 {
			return nil
		}
		if e := t.peek(s.policy, hash, tried); e != nil {
			return e.Backend
		}
	}
	return nil
}

func (t *tier) peek(policy policy, key uint64, tried *Tried) *entry {
	if policy == hashed {
		slot := mix(key) >> (64 - slotBits)
		if e := &t.entries[t.winner(slot)]; e.free(tried) {
			return e
		}
		return t.bestFree(slot, tried)
	}
	for i := range t.entries {
		if e := &t.entries[i]; e.free(tried) {
			return e
		}
	}
	return nil
}
