package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// columns is the width of a terminal that the story fits.
const columns = 80

// margin is where the text begins, after the time.
const margin = 9

// narrator writes lines with the time since the start before them, folded at the terminal's width.
type narrator struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
	now   func() time.Time
	err   error
}

func newNarrator(out io.Writer, now func() time.Time) *narrator {
	return &narrator{out: out, start: now(), now: now}
}

// say writes a line at the present time.
func (n *narrator) say(format string, args ...any) { n.sayAt(n.now(), format, args...) }

// sayAt writes a line about a moment.
func (n *narrator) sayAt(at time.Time, format string, args ...any) {
	n.write(fmt.Sprintf("%6.1fs  ", at.Sub(n.start).Seconds()), fmt.Sprintf(format, args...))
}

// more writes a line without a time, below the one before.
func (n *narrator) more(format string, args ...any) {
	n.write(strings.Repeat(" ", margin), fmt.Sprintf(format, args...))
}

// plain writes text at the left edge; "" is an empty line.
func (n *narrator) plain(format string, args ...any) { n.write("", fmt.Sprintf(format, args...)) }

// title writes a heading between empty lines.
func (n *narrator) title(format string, args ...any) {
	n.plain("")
	n.plain("%s", strings.Repeat(" ", margin)+strings.ToUpper(fmt.Sprintf(format, args...)))
}

func (n *narrator) write(head, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for part := range strings.SplitSeq(text, "\n") {
		for _, line := range fold(part, columns-len(head)) {
			if _, err := fmt.Fprintln(n.out, strings.TrimRight(head+line, " ")); err != nil && n.err == nil {
				n.err = fmt.Errorf("telling the story: %w", err)
			}
			head = strings.Repeat(" ", len(head))
		}
	}
}

// failure is the first error of the output.
func (n *narrator) failure() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// fold breaks a text between words into lines of at most width octets; a single longer word stays whole. Leading
// spaces of the text are kept.
func fold(text string, width int) []string {
	if len(text) <= width {
		return []string{text}
	}
	indent := text[:len(text)-len(strings.TrimLeft(text, " "))]
	line, lines := "", []string(nil)
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = indent + word
		case len(line)+1+len(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = indent + word
		}
	}
	return append(lines, line)
}

// count writes a number with its thousands apart.
func count(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural is the number with the word, which gets an s unless it is one.
func plural(n uint64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return count(n) + " " + word + "s"
}

// long writes a duration as people say it: milliseconds below ten seconds, then seconds.
func long(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	case d < 10*time.Second:
		return count(uint64(d.Round(time.Millisecond).Milliseconds())) + " ms"
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}
