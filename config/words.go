package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oneOf reports a value that is not one of the words.
func oneOf(report func(key, message string), key, value string, words ...string) {
	if slices.Contains(words, value) {
		return
	}
	list := strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	report(key, fmt.Sprintf("must be %s, not %q%s", list, value, didYouMean(value, words)))
}

// didYouMean is the end of a message: `; did you mean "x"?`, or "".
func didYouMean(word string, known []string) string {
	known = known[:min(len(known), 500)] // a hint is not worth minutes
	if near := nearest(word, known); near != "" && word != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// badName says what is wrong with a name, or "". Names stand in metrics, URLs
// and `sereno drain pool/POOL/BACKEND`, so that a slash or a space would be trouble.
func badName(name string) string {
	if len(name) > 63 {
		return fmt.Sprintf("is %d characters long; at most 63", len(name))
	}
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && (i == 0 || r != '-' && r != '_' && r != '.') {
			return fmt.Sprintf("%q is not a name; use letters, digits, - _ and . and begin with a letter or digit", name)
		}
	}
	return ""
}

// parseListen reads IP:PORT; it returns what is wrong, or "".
func parseListen(text string) (netip.AddrPort, string) {
	if a, err := netip.ParseAddrPort(text); err == nil {
		return a, ""
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPort{}, fmt.Sprintf("has no port; write %s", netip.AddrPortFrom(a, 8053))
	}
	if port, ok := strings.CutPrefix(text, ":"); ok {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil {
			return netip.AddrPort{}, fmt.Sprintf("has no address; write 127.0.0.1:%s, or [::]:%s for all", port, port)
		}
	}
	return netip.AddrPort{}, fmt.Sprintf("must be an IP address and a port (127.0.0.1:8053 or [::1]:8053), not %q", text)
}

// durationText writes nanoseconds as a configuration would: "7d", "1m30s", "1500ms".
func durationText(ns int64) string {
	const day = int64(24 * time.Hour)
	switch {
	case ns == 0:
		return "0s"
	case ns >= 2*day && ns%day == 0:
		return fmt.Sprintf("%dd", ns/day)
	case ns < int64(10*time.Second) && ns%int64(time.Second) != 0 && ns%int64(time.Millisecond) == 0:
		return fmt.Sprintf("%dms", ns/int64(time.Millisecond))
	}
	text := time.Duration(ns).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
