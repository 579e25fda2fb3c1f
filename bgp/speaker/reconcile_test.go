package speaker

import (
	"testing"

	"sereno/bgp"
)

// TestA21MarksOfOtherSites: only a path with another site's number, of our AS, and without that site's own mark of
// demotion counts.
func TestA21MarksOfOtherSites(t *testing.T) {
	session := &bgp.Session{LocalASN: 64512, Site: 1}
	site := func(n uint32) [3]uint32 { return [3]uint32{64512, bgp.SiteFunction, n} }
	demoted := func(n uint32) [3]uint32 { return [3]uint32{64512, bgp.DemotedFunction, n} }
	for name, c := range map[string]struct {
		marks [][3]uint32
		want  bool
	}{
		"none":                      {nil, false},
		"our own":                   {[][3]uint32{site(1)}, false},
		"another":                   {[][3]uint32{site(2)}, true},
		"another, demoted":          {[][3]uint32{site(2), demoted(2)}, false},
		"another, our own demotion": {[][3]uint32{site(2), demoted(1)}, true},
		"demotion alone":            {[][3]uint32{demoted(2)}, false},
		"of another AS":             {[][3]uint32{{64513, bgp.SiteFunction, 2}}, false},
	} {
		if got := otherSite(session, c.marks); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
