package radiusfront

import (
	"fmt"
	"strconv"
	"strings"
)

// Bytes is a size, written as a number with an optional unit: "1GiB", "512MiB", "64KiB", "1000".
type Bytes int64

// UnmarshalText reads a size; it refuses negative ones and unknown units.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	shift := 0
	for suffix, by := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40} {
		if strings.HasSuffix(s, suffix) {
			s, shift = strings.TrimSpace(strings.TrimSuffix(s, suffix)), by
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<62>>shift {
		return fmt.Errorf("not a size: %q (write for example 1GiB)", text)
	}
	*b = Bytes(n << shift)
	return nil
}

// MarshalText writes the size with the largest unit that divides it.
func (b Bytes) MarshalText() ([]byte, error) {
	units := []string{"", "KiB", "MiB", "GiB", "TiB"}
	n, i := int64(b), 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	return []byte(strconv.FormatInt(n, 10) + units[i]), nil
}
