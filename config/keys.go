package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// field is one key of a section, from the struct tags of the package that owns it.
type field struct {
	name   string
	index  []int
	typ    reflect.Type
	scalar bool // a list that may be written as one value
	secret bool // never printed
	file   bool // names a file that must exist
	path   bool // names a file or directory that need not exist
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// fieldsOf lists the keys of a section in order of declaration; inline structs are part of it.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("yaml")
		name, option, _ := strings.Cut(tag, ",")
		switch {
		case option == "inline":
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				out = append(out, inner)
			}
		case ok && name != "-" && f.IsExported():
			out = append(out, field{
				name: name, index: []int{i}, typ: f.Type, scalar: option == "scalar",
				secret: f.Tag.Get("secret") == "true", file: f.Tag.Get("file") == "true" || strings.HasSuffix(name, "_file"), path: f.Tag.Get("path") == "true",
			})
		}
	}
	return out
}

// isSection tells structs with keys from structs that are one value (netip.Prefix).
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(textType)
}

// isSections tells lists of sections from lists of values.
func isSections(t reflect.Type) bool { return t.Kind() == reflect.Slice && isSection(t.Elem()) }

// setDefaults calls the defaults of an item; those of a pool depend on its protocol.
func setDefaults(v reflect.Value, protocol string) {
	switch s := v.Addr().Interface().(type) {
	case interface{ SetDefaults(protocol string) }:
		s.SetDefaults(protocol)
	case interface{ SetDefaults() }:
		s.SetDefaults()
	}
}

// patterns lists every key as a pattern: `pools[].backends[].address`.
// Sections and lists of sections stand before their keys.
func patterns(t reflect.Type, prefix string) []string {
	var out []string
	for _, f := range fieldsOf(t) {
		p := join(prefix, f.name)
		out = append(out, p)
		switch {
		case isSection(f.typ):
			out = append(out, patterns(f.typ, p)...)
		case isSections(f.typ):
			out = append(out, patterns(f.typ.Elem(), p+"[]")...)
		}
	}
	return out
}

// leaf is one value of a configuration: a scalar, a list of scalars, or a list
// of sections as a whole.
type leaf struct {
	path    string // pools[0].backends[1].address
	names   string // pools[resolvers].backends[fulmine].address
	pattern string // pools[].backends[].address
	field   field
	value   reflect.Value
	def     reflect.Value // its default in this place
}

// isDefault compares with the default; an absent list equals an empty one.
func (l leaf) isDefault() bool { return equal(l.value, l.def) }

func equal(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// place is where a walk stands.
type place struct{ path, names, pattern string }

func (p place) key(name string) place {
	return place{join(p.path, name), join(p.names, name), join(p.pattern, name)}
}

func (p place) item(i int, name string) place {
	if name == "" {
		name = fmt.Sprint(i)
	}
	return place{fmt.Sprintf("%s[%d]", p.path, i), fmt.Sprintf("%s[%s]", p.names, name), p.pattern + "[]"}
}

// walk visits the leaves of v in order. A list of sections is visited before
// its items, which are left out if visit returns false.
func walk(v, def reflect.Value, at place, visit func(leaf) bool) {
	for _, f := range fieldsOf(v.Type()) {
		value, d, p := v.FieldByIndex(f.index), def.FieldByIndex(f.index), at.key(f.name)
		if isSection(f.typ) {
			walk(value, d, p, visit)
			continue
		}
		descend := visit(leaf{p.path, p.names, p.pattern, f, value, d})
		if !descend || !isSections(f.typ) {
			continue
		}
		for i := range value.Len() {
			item := value.Index(i)
			fresh := reflect.New(f.typ.Elem()).Elem()
			setDefaults(fresh, textField(item, "protocol"))
			walk(item, fresh, p.item(i, textField(item, "name")), visit)
		}
	}
}

// textField reads a string key of a section; "" if it has no such key.
func textField(section reflect.Value, name string) string {
	for _, f := range fieldsOf(section.Type()) {
		if f.name == name && f.typ.Kind() == reflect.String {
			return section.FieldByIndex(f.index).String()
		}
	}
	return ""
}

// visit walks the whole configuration.
func (c *Config) visit(f func(leaf) bool) {
	def := Default()
	walk(reflect.ValueOf(c).Elem(), reflect.ValueOf(&def).Elem(), place{}, f)
}
