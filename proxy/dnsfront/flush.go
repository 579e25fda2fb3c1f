package dnsfront

import (
	"fmt"

	"sereno/proxy/dnswire"
)

// Flush forgets cached answers: those for name, with subtree also those for all names
// below it, or all of them if name is empty. It returns how many, or an error if name
// is not a domain name. A refresh that is in flight may store an answer afterwards.
func (s *Service) Flush(name string, subtree bool) (int, error) {
	var wire []byte
	if name != "" {
		var ok bool
		if wire, ok = dnswire.ParseName(nil, name); !ok {
			return 0, fmt.Errorf("flushing the cache of %q: %q is not a domain name", s.Name(), name)
		}
	}
	// Update may close the cache that it takes out of use: not meanwhile.
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.settings.Load().cache; c != nil && !s.closed {
		return c.flush(wire, subtree), nil
	}
	return 0, nil
}
