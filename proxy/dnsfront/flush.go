package dnsfront

import (
	"fmt"

	"sereno/proxy/dnswire"
)

// Flush forgets cached answers: those for name, with subtree also those for all names
// below it, or all of them if name is empty. It returns how many, or an error if name
// is not a domain name. A refresh that is in flight may store an answer afterwards. The
// snapshot of the last stop is removed: after a crash it would bring them back.
func (s *Service) Flush(name string, subtree bool) (int, error) {
	var wire []byte
	if name != "" {
		var ok bool
		if wire, ok = dnswire.ParseName(nil, name); !ok {
			return 0, fmt.Errorf("flushing the cache of %q: %q is not a domain name", s.Name(), name)
		}
	}
	n, snapshot := s.flush(wire, subtree)
	s.removeSnapshot(snapshot) // no reload waits for a disk that hangs
	return n, nil
}

// flush forgets answers in the cache, and tells where the snapshot of the last stop is; "":
// nowhere.
func (s *Service) flush(name []byte, subtree bool) (n int, snapshot string) {
	// Update may close the cache that it takes out of use: not meanwhile.
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.settings.Load()
	if set.cache == nil || s.closed {
		return 0, ""
	}
	return set.cache.flush(name, subtree), s.snapshotPath(&set.cfg)
}
