package bgp

import (
	"fmt"
	"slices"
	"strings"
)

// CheckReload refuses a configuration that would leave no anycast prefix or no
// neighbor where the running one has some, unless allowEmpty (A20): one wrong
// file must not take every site out of the routing.
func CheckReload(old, next Settings, allowEmpty bool) error {
	if allowEmpty {
		return nil
	}
	var lost []string
	if prefixes(old) > 0 && prefixes(next) == 0 {
		lost = append(lost, "anycast prefix")
	}
	if len(old.BGP.Neighbors) > 0 && len(next.BGP.Neighbors) == 0 {
		lost = append(lost, "neighbor")
	}
	if len(lost) == 0 {
		return nil
	}
	return fmt.Errorf("refused: the configuration has no %s, the running one has some; allow it with --allow-empty", strings.Join(lost, " and no "))
}

func prefixes(s Settings) (n int) {
	for i := range s.Anycast {
		n += len(s.Anycast[i].Prefixes)
	}
	return n
}

// Difference tells in lines what a reload changes in routes and sessions.
func Difference(old, next Settings) []string {
	var out []string
	have, want := routesByPrefix(old), routesByPrefix(next)
	for _, p := range sortedKeys(have, want) {
		h, inOld := have[p]
		w, inNew := want[p]
		switch {
		case !inNew:
			out = append(out, fmt.Sprintf("- route %s (%s)", p, h.owner))
		case !inOld:
			out = append(out, fmt.Sprintf("+ route %s (%s)", p, w.owner))
		case !h.Equal(w.Route) || h.owner != w.owner:
			out = append(out, fmt.Sprintf("~ route %s (%s): other attributes", p, w.owner))
		}
	}
	oldSessions, newSessions := sessionsByName(old), sessionsByName(next)
	for _, n := range sortedKeys(oldSessions, newSessions) {
		o, inOld := oldSessions[n]
		w, inNew := newSessions[n]
		switch {
		case !inNew:
			out = append(out, "- neighbor "+n)
		case !inOld:
			out = append(out, "+ neighbor "+n)
		case !o.sameSession(w):
			out = append(out, "~ neighbor "+n+": its session starts anew")
		}
	}
	return out
}

type ownedRoute struct {
	Route
	owner string
}

func routesByPrefix(s Settings) map[string]ownedRoute {
	out := map[string]ownedRoute{}
	for i := range s.Anycast {
		a := &s.Anycast[i]
		for _, r := range routes(a, s.BGP.ASN, s.BGP.Site, false) {
			out[r.Prefix.String()] = ownedRoute{r, a.Name}
		}
	}
	return out
}

func sessionsByName(s Settings) map[string]Session {
	out := map[string]Session{}
	for _, x := range sessions(s) {
		out[x.Name] = x
	}
	return out
}

func sortedKeys[V any](a, b map[string]V) []string {
	var keys []string
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// sameSession tells whether the session may stay as it is: only what a running
// speaker takes without a new session differs.
func (s Session) sameSession(o Session) bool {
	o.MaxReceived, o.Lease, o.Site = s.MaxReceived, s.Lease, s.Site
	return s == o
}
