package cli

import (
	"math"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"
)

func TestAmountsFit(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 9_999_999: "9999999", 10_000_000: "10.0M", 999_949_999: "999.9M", 999_950_000: "1.0G", 1e15: "1.0P", math.MaxUint64: "18.4E",
	} {
		if got := amount(n); got != want {
			t.Errorf("amount(%d) = %s, not %s", n, got, want)
		}
	}
	for n := uint64(1); n < math.MaxUint64/7; n *= 7 {
		if got := amount(n); len(got) > 7 {
			t.Errorf("amount(%d) = %s", n, got)
		}
	}
}

func TestLongTextsAreWrappedAndCut(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""}, {"  a  b ", "a b"}, {"one two three", "one two\nthree"}, {"a abcdefghijk", "a\nabcdefgh\nijk"}, {"1234567ア", "1234567\nア"},
		{"a a a a a a a a a a a a a a a a a a a a a a a a a a a a", "a a a a\na a a a\na a a a\na a a a\na a a a\n~"},
	} {
		if got := wrap(test.in, 8); got != test.want {
			t.Errorf("wrap(%q) = %q, not %q", test.in, got, test.want)
		}
	}
}

func TestAges(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 59*time.Second + 999*time.Millisecond: "59s", time.Minute: "1m", 133 * time.Minute: "2h13m",
		24 * time.Hour: "1d0h", 99*24*time.Hour + 23*time.Hour: "99d23h", 100 * 24 * time.Hour: "100d", math.MaxInt64: "106751d",
	} {
		if got := age(d); got != want {
			t.Errorf("age(%v) = %s, not %s", d, got, want)
		}
	}
	if got := since(time.Time{}, time.Now()); got != "" {
		t.Errorf("never is %q", got)
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{"", "résolveur", "\x1b[2J", "a\r\nb\tc", "\xff\xfe", "\u202e\u200b\u2028\u0000", "e\u0301", "コンソール"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		for _, r := range got {
			if r != utf8.RuneError && !unicode.IsPrint(r) {
				t.Fatalf("%q has %q", got, r)
			}
		}
		if again := clean(got); again != got {
			t.Fatalf("cleaned twice: %q, %q", got, again)
		}
		g := grid{columns: []column{{title: "A", least: 5}, {title: "B", least: 9, wrap: true}, {title: "C", right: true}}}
		g.add(s, s, "1")
		for _, line := range splitLines(g.String()) {
			if text.StringWidth(line) > width {
				t.Fatalf("%d columns: %q", text.StringWidth(line), line)
			}
		}
	})
}

func splitLines(s string) []string {
	var lines []string
	for _, r := range s {
		if len(lines) == 0 || r == '\n' {
			lines = append(lines, "")
		}
		if r != '\n' {
			lines[len(lines)-1] += string(r)
		}
	}
	return lines
}
