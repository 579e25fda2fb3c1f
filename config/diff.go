package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"sereno/bgp"
)

// ChangeKind says how a key changed.
type ChangeKind string

// The kinds of change.
const (
	Changed   ChangeKind = "changed"
	Added     ChangeKind = "added"     // an item of a list of sections
	Removed   ChangeKind = "removed"   // an item of a list of sections
	Reordered ChangeKind = "reordered" // the same items in another order
)

// Change is one difference between two configurations.
type Change struct {
	Key      string // path in the new configuration, `pools[0].backends[1].weight`; of what was removed, in the old
	Name     string // the same with names for indices, `pools[resolvers].backends[tempesta].weight`
	Kind     ChangeKind
	Old, New string // values of a changed key; both "" if it is a secret
	Restart  bool   // takes effect only when sereno is started again
}

// String writes one line for people.
func (c Change) String() string {
	text := fmt.Sprintf("%s: %s", c.Name, c.Kind)
	if c.Kind == Changed && (c.Old != "" || c.New != "") {
		text = fmt.Sprintf("%s: %s -> %s", c.Name, c.Old, c.New)
	}
	if c.Restart {
		text += " (needs a restart)"
	}
	return text
}

// Diff lists what differs between two configurations that Load returned, in
// order of the keys. Items of lists are matched by name, so that an item moved
// or put in front of others is not a change of all that follow. Values of
// secrets are never in it, but a secret that changed, also inside its file, is.
func Diff(running, next *Config) []Change {
	d := differ{}
	d.section(reflect.ValueOf(running).Elem(), reflect.ValueOf(next).Elem(), place{}, place{})
	if running.AdminToken != next.AdminToken && running.Admin.TokenFile == next.Admin.TokenFile {
		d.add(place{"admin.token_file", "admin.token_file", "admin.token_file"}, Changed, "", "")
	}
	for i, n := range next.BGP.Neighbors {
		j := slices.IndexFunc(running.BGP.Neighbors, func(o bgp.NeighborConfig) bool { return o.Name == n.Name })
		if j < 0 || running.BGP.Neighbors[j].PasswordFile != n.PasswordFile || running.NeighborPasswords[n.Name] == next.NeighborPasswords[n.Name] {
			continue
		}
		d.add(place{"bgp", "bgp", "bgp"}.key("neighbors").item(i, n.Name).key("password_file"), Changed, "", "")
	}
	return d.changes
}

// NeedsRestart picks the changes that a reload cannot make.
func NeedsRestart(changes []Change) []Change {
	var out []Change
	for _, c := range changes {
		if c.Restart {
			out = append(out, c)
		}
	}
	return out
}

type differ struct{ changes []Change }

func (d *differ) add(at place, kind ChangeKind, was, is string) {
	d.changes = append(d.changes, Change{at.path, at.names, kind, was, is, !isLive(at.pattern)})
}

// section compares two sections of one type; was and is are their places.
func (d *differ) section(last, next reflect.Value, was, is place) {
	for _, f := range fieldsOf(next.Type()) {
		a, b := last.FieldByIndex(f.index), next.FieldByIndex(f.index)
		from, to := was.key(f.name), is.key(f.name)
		switch {
		case isSection(f.typ):
			d.section(a, b, from, to)
		case isSections(f.typ):
			d.list(a, b, from, to)
		case equal(a, b):
		case f.secret:
			// A secret that came from a file is the file's change.
			if file := textField(next, f.name+"_file"); file != "" {
				if file == textField(last, f.name+"_file") {
					d.add(is.key(f.name+"_file"), Changed, "", "")
				}
				continue
			}
			d.add(to, Changed, "", "")
		default:
			d.add(to, Changed, valueText(a), valueText(b))
		}
	}
}

// list compares two lists of sections.
func (d *differ) list(last, next reflect.Value, was, is place) {
	before, after := identities(last), identities(next)
	remains := make(map[string]bool, len(after))
	for _, id := range after {
		remains[id] = true
	}
	index := make(map[string]int, len(before))
	for i, id := range before {
		index[id] = i
		if !remains[id] {
			d.add(was.item(i, nameOf(last.Index(i))), Removed, "", "")
		}
	}
	var order []int
	for i, id := range after {
		to := is.item(i, nameOf(next.Index(i)))
		j, ok := index[id]
		if !ok {
			d.add(to, Added, "", "")
			continue
		}
		order = append(order, j)
		d.section(last.Index(j), next.Index(i), was.item(j, nameOf(last.Index(j))), to)
	}
	if !slices.IsSorted(order) {
		d.add(is, Reordered, "", "")
	}
}

// identities tells the items of a list apart: by name, else by place.
func identities(list reflect.Value) []string {
	out := make([]string, list.Len())
	for i := range out {
		if out[i] = nameOf(list.Index(i)); out[i] == "" {
			out[i] = fmt.Sprintf("#%d", i)
		}
	}
	return out
}

func nameOf(section reflect.Value) string { return textField(section, "name") }

// isLive tells whether a reload makes a change of this key. What is not known
// to be live needs a restart.
func isLive(pattern string) bool {
	return slices.Contains(liveKeys, strings.TrimSuffix(pattern, "[]"))
}
