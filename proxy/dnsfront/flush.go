package dnsfront

import (
	"fmt"
	"maps"

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

// flushMoved forgets the answers of zones that have another pool than before (D62): another
// pool may know them otherwise.
func (set *settings) flushMoved(old *settings) {
	was, is := old.cfg.zones(), set.cfg.zones()
	moved := maps.Clone(was)
	maps.Copy(moved, is)
	maps.DeleteFunc(moved, func(zone, _ string) bool { return was[zone] == is[zone] })
	if set.cache == nil || len(moved) == 0 {
		return
	}
	set.cache.flushIf(func(name []byte) bool {
		for len(name) > 1 && moved[string(name)] == "" {
			name = name[int(name[0])+1:]
		}
		return moved[string(name)] != ""
	})
}

// zones are the routed zones, on the wire in lower case, with the names of their pools.
func (c *Config) zones() map[string]string {
	out := map[string]string{}
	for _, r := range c.Routes {
		for _, z := range r.Zones {
			if name, ok := dnswire.ParseName(nil, z); ok {
				out[string(name)] = r.Pool
			}
		}
	}
	return out
}
