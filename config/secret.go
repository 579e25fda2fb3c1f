package config

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Secret is text that is never printed. Convert it to string or []byte where it is used.
type Secret string

const masked = "***"

// String masks the secret; "" stays "".
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// Format masks the secret for every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText masks the secret in JSON and elsewhere.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes the configuration with every key, one on a line, secrets masked.
func (c Config) String() string {
	var b strings.Builder
	c.visit(func(l leaf) bool {
		if !isSections(l.field.typ) {
			fmt.Fprintf(&b, "%s: %s\n", l.path, l.text())
		}
		return true
	})
	return b.String()
}

// Format masks secrets for every verb of package fmt, also %#v.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalJSON masks secrets.
func (c Config) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// MarshalYAML masks secrets.
func (c Config) MarshalYAML() (any, error) { return c.String(), nil }

// String names the pool.
func (p Pool) String() string { return fmt.Sprintf("pool %s (%s)", p.Name, p.Protocol) }

// Format names the pool for every verb: its backends hold secrets.
func (p Pool) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

// MarshalJSON names the pool.
func (p Pool) MarshalJSON() ([]byte, error) { return json.Marshal(p.String()) }

// MarshalYAML names the pool.
func (p Pool) MarshalYAML() (any, error) { return p.String(), nil }

// String names the backend.
func (b Backend) String() string { return fmt.Sprintf("backend %s (%s)", b.Name, b.Address) }

// Format names the backend for every verb: it holds a secret.
func (b Backend) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, b.String()) }

// MarshalJSON names the backend.
func (b Backend) MarshalJSON() ([]byte, error) { return json.Marshal(b.String()) }

// MarshalYAML names the backend.
func (b Backend) MarshalYAML() (any, error) { return b.String(), nil }

// text writes the leaf's value for people; a secret is masked.
func (l leaf) text() string {
	if l.field.secret {
		if l.value.Len() == 0 {
			return `""`
		}
		return masked
	}
	return valueText(l.value)
}

func valueText(v reflect.Value) string {
	switch {
	case isSections(v.Type()):
		return fmt.Sprintf("%d items", v.Len())
	case v.Kind() == reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = valueText(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case v.Type() == durationType:
		return durationText(v.Int())
	case v.Kind() == reflect.String:
		if v.String() == "" {
			return `""`
		}
		return v.String()
	}
	if m, ok := v.Interface().(interface{ MarshalText() ([]byte, error) }); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	return fmt.Sprint(v.Interface())
}
