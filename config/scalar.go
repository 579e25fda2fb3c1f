package config

import (
	"encoding"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// typeName says in words what a key takes.
func typeName(t reflect.Type) string {
	switch {
	case t == durationType:
		return `a duration ("500ms", "2s", "7d")`
	case t == reflect.TypeFor[netip.Prefix]():
		return "a prefix (192.0.2.0/24)"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Float64:
		return "a number"
	case t.Kind() == reflect.String, reflect.PointerTo(t).Implements(textType):
		return "text"
	default:
		return "a whole number"
	}
}

// setScalar reads one value; it returns what is wrong with it, or "". Text
// takes the letters as they stand in the file, so that `name: 0123` and
// `mode: off` mean what they look like, whatever a YAML version makes of them.
func setScalar(n *node, v reflect.Value) string {
	t := v.Type()
	if t != durationType && t.Kind() != reflect.String && !reflect.PointerTo(t).Implements(textType) && n.quoted {
		return fmt.Sprintf("must be %s, not text; write it without quotes", typeName(t))
	}
	switch {
	case t == durationType:
		d, message := parseDuration(n.text)
		v.SetInt(int64(d))
		return message
	case t == reflect.TypeFor[netip.Prefix]():
		p, message := parsePrefix(n.text)
		v.Set(reflect.ValueOf(p))
		return message
	case reflect.PointerTo(t).Implements(textType):
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.text)); err != nil {
			return err.Error()
		}
	case t.Kind() == reflect.String:
		v.SetString(n.text)
	case t.Kind() == reflect.Bool:
		return setBool(n.text, v)
	case t.Kind() == reflect.Float64:
		return setFloat(n.text, v)
	case v.CanInt(), v.CanUint():
		return setInteger(n.text, v)
	default:
		panic("config: no reader for a key of type " + t.String())
	}
	return ""
}

// strangeText says what is wrong with letters that nobody types on purpose. A
// secret may have any of them but the end of a line, which comes from `|` and
// would be part of the secret.
func strangeText(text string, secret bool) string {
	i := strings.IndexFunc(text, func(r rune) bool {
		return r == '\n' || r == '\r' || !secret && (r < ' ' && r != '\t' || r == 0x7f)
	})
	switch {
	case i < 0:
		return ""
	case text[i] == '\n' || text[i] == '\r':
		return "has the end of a line in it; write it on one line, or with |- instead of |"
	}
	return fmt.Sprintf("has a control character (0x%02x) in it", text[i])
}

func setBool(text string, v reflect.Value) string {
	switch text {
	case "true", "True", "TRUE":
		v.SetBool(true)
	case "false", "False", "FALSE":
		v.SetBool(false)
	default:
		switch strings.ToLower(text) {
		case "yes", "on", "y":
			return fmt.Sprintf("must be true or false, not %q; write true", text)
		case "no", "off", "n":
			return fmt.Sprintf("must be true or false, not %q; write false", text)
		}
		return fmt.Sprintf("must be true or false, not %q", text)
	}
	return ""
}

var (
	integerForm = regexp.MustCompile(`^[+-]?[0-9]+$`)
	floatForm   = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)
	asdotForm   = regexp.MustCompile(`^([0-9]{1,5})\.([0-9]{1,5})$`)
)

// setInteger reads decimal numbers only: the YAML versions disagree on 010 and 1_000.
func setInteger(text string, v reflect.Value) string {
	if !integerForm.MatchString(text) {
		hint := ""
		if f, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			hint = fmt.Sprintf("; write %d", int64(f))
		} else if n, err := strconv.ParseInt(text, 0, 64); err == nil {
			hint = fmt.Sprintf("; write %d", n)
		} else if m := asdotForm.FindStringSubmatch(text); m != nil && v.Kind() == reflect.Uint32 {
			high, _ := strconv.Atoi(m[1])
			low, _ := strconv.Atoi(m[2])
			if high < 1<<16 && low < 1<<16 {
				hint = fmt.Sprintf("; as an AS number write %d", high<<16|low)
			}
		}
		return fmt.Sprintf("must be a whole number, not %q%s", text, hint)
	}
	if digits := strings.TrimLeft(text, "+-"); len(digits) > 1 && digits[0] == '0' {
		return fmt.Sprintf("a number with a leading zero (%s) is read as decimal by some and as octal by others; write it without", text)
	}
	if v.CanUint() {
		n, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), 10, 64)
		if err != nil || v.OverflowUint(n) {
			return fmt.Sprintf("%s is out of range (0..%d)", text, uint64(math.MaxUint64)>>(64-v.Type().Bits()))
		}
		v.SetUint(n)
		return ""
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v.OverflowInt(n) {
		return text + " is out of range"
	}
	v.SetInt(n)
	return ""
}

func setFloat(text string, v reflect.Value) string {
	if digits := strings.TrimLeft(text, "+-"); len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		return fmt.Sprintf("a number with a leading zero (%s) is read as decimal by some and as octal by others; write it without", text)
	}
	f, err := strconv.ParseFloat(text, 64)
	if !floatForm.MatchString(text) || err != nil {
		return fmt.Sprintf("must be a number, not %q", text)
	}
	v.SetFloat(f)
	return ""
}

// parseDuration reads Go's durations, with days before them: "500ms", "7d", "1d12h".
func parseDuration(text string) (time.Duration, string) {
	if text == "0" {
		return 0, ""
	}
	if floatForm.MatchString(text) {
		return 0, fmt.Sprintf("a duration needs a unit; write %ss or %sms", text, text)
	}
	bad := fmt.Sprintf("must be a duration, not %q; write for example 500ms, 2s, 5m, 24h or 7d", text)
	days, rest := time.Duration(0), text
	if before, after, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseFloat(before, 64)
		if err != nil || !floatForm.MatchString(before) {
			return 0, bad
		}
		if math.Abs(n) > 100_000 {
			return 0, text + " is out of range"
		}
		days, rest = time.Duration(n*24*float64(time.Hour)), after
		if rest == "" {
			rest = "0"
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, bad
	}
	if d += days; d < 0 || strings.HasPrefix(text, "-") {
		return 0, fmt.Sprintf("%s is negative", text)
	}
	return d, ""
}

// parsePrefix reads a prefix. Bits after its length would be cut off in one
// place and compared in another.
func parsePrefix(text string) (netip.Prefix, string) {
	if p, err := netip.ParsePrefix(text); err == nil {
		if p != p.Masked() {
			return p, fmt.Sprintf("%s has host bits set; write %s, or %s/%d for the one address", text, p.Masked(), p.Addr(), p.Addr().BitLen())
		}
		return p, ""
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.Prefix{}, fmt.Sprintf("must be a prefix, not an address; write %s/%d", text, a.BitLen())
	}
	return netip.Prefix{}, fmt.Sprintf("must be a prefix like 192.0.2.0/24 or 2001:db8::/32, not %q", text)
}
