package config

import (
	"fmt"
	"slices"
	"strings"
)

// missing is a row of notYet.
type missing struct {
	key     string   // pattern, with all that is below it
	values  []string // the values that are not available; none: every value but the default
	feature string   // its name in the line of what is not active
}

// later reports values whose feature this version does not have, and notes the
// features that stand there at their defaults.
func (k *checker) later() {
	k.config.visit(func(l leaf) bool {
		i := slices.IndexFunc(k.notYet, func(m missing) bool { return matches(l.pattern, m.key) })
		if i < 0 {
			return true
		}
		row := k.notYet[i]
		if !slices.Contains(k.inactive, row.feature) && k.concerns(l) {
			k.inactive = append(k.inactive, row.feature)
		}
		if row.refuses(l) {
			k.fail(l.path, row.message(l))
		}
		return false // the items of a list that is refused as a whole
	})
	slices.Sort(k.inactive)
}

// concerns leaves out a RADIUS backend's keys in a pool of DNS.
func (k *checker) concerns(l leaf) bool {
	var i int
	if _, err := fmt.Sscanf(l.path, "pools[%d].", &i); err != nil {
		return true
	}
	protocol := k.config.Pools[i].Protocol
	under := strings.TrimPrefix(l.pattern, "pools[].")
	return !(protocol != "radius" && slices.Contains(radiusKeys, under) || protocol != "dns" && slices.Contains(dnsKeys, under))
}

func (m missing) refuses(l leaf) bool {
	if len(m.values) == 0 {
		return !l.isDefault()
	}
	return slices.Contains(m.values, valueText(l.value))
}

func (m missing) message(l leaf) string {
	if len(m.values) > 0 {
		return fmt.Sprintf("%s is not available yet in this version", valueText(l.value))
	}
	if isSections(l.field.typ) || l.field.file {
		return "not available yet in this version; leave it out"
	}
	return fmt.Sprintf("not available yet in this version; only the default is, %s", l.defaultText())
}

// defaultText writes the default of the leaf for people.
func (l leaf) defaultText() string {
	d := l
	d.value = l.def
	return d.text()
}
