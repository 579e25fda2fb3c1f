package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// clean makes a text harmless for a terminal: what is not printable, invisible, or turns
// the direction of writing becomes a replacement character, line ends become blanks.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return utf8.RuneError
		}
		return r
	}, s)
}

// cleanLines cleans each line of a text.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// age is a duration in at most six characters: 45s, 12m, 2h13m, 3d4h, 400d.
func age(d time.Duration) string {
	d = max(d, 0)
	minutes, hours, days := int(d.Minutes()), int(d.Hours()), int(d.Hours()/24)
	switch {
	case minutes < 1:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case hours < 1:
		return fmt.Sprintf("%dm", minutes)
	case days < 1:
		return fmt.Sprintf("%dh%dm", hours, minutes%60)
	case days < 100:
		return fmt.Sprintf("%dd%dh", days, hours%24)
	}
	return fmt.Sprintf("%dd", days)
}

// since is the age of a moment; empty for one that never came.
func since(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	return age(now.Sub(at))
}

// amount is a count in at most seven characters.
func amount(n uint64) string {
	if n < 10_000_000 {
		return strconv.FormatUint(n, 10)
	}
	f := float64(n)
	units := "kMGTPE" // 2^64 is 18.4 E
	for f /= 1000; f >= 999.95; f /= 1000 {
		units = units[1:]
	}
	return fmt.Sprintf("%.1f%c", f, units[0])
}

// utc is a moment as people read it.
func utc(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.UTC().Format("2006-01-02 15:04:05 UTC")
}
