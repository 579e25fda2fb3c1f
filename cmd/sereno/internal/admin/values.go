package admin

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// List is a slice that is never null in JSON: a nil List is written as [].
// A plain []T can be assigned to it.
type List[T any] []T

// MarshalJSON writes the list, [] if it is nil.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if len(l) == 0 {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// Counts are numbers by a word of a closed list; {} instead of null when there is none.
type Counts map[string]uint64

// MarshalJSON writes the numbers, {} if there are none.
func (c Counts) MarshalJSON() ([]byte, error) {
	if len(c) == 0 {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]uint64(c))
}

// Time is a moment as the API shows it: RFC 3339 in UTC, to the second. The zero
// Time is null.
type Time struct{ time.Time }

// At is t as the API shows it.
func At(t time.Time) Time { return Time{t} }

// MarshalJSON writes RFC 3339 in UTC, or null for the zero Time.
func (t Time) MarshalJSON() ([]byte, error) { return marshalTime(t.Time, time.RFC3339) }

// UnmarshalJSON reads RFC 3339, or null as the zero Time.
func (t *Time) UnmarshalJSON(b []byte) error { return unmarshalTime(&t.Time, b) }

// Instant is a Time with milliseconds, for events, whose order and distance matter.
type Instant struct{ time.Time }

// MarshalJSON writes RFC 3339 in UTC with milliseconds, or null for the zero Instant.
func (t Instant) MarshalJSON() ([]byte, error) {
	return marshalTime(t.Time, "2006-01-02T15:04:05.000Z07:00")
}

// UnmarshalJSON reads RFC 3339, or null as the zero Instant.
func (t *Instant) UnmarshalJSON(b []byte) error { return unmarshalTime(&t.Time, b) }

func marshalTime(t time.Time, layout string) ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.UTC().Format(layout) + `"`), nil
}

func unmarshalTime(t *time.Time, b []byte) error {
	*t = time.Time{}
	if string(b) == "null" {
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("reading a time: %w", err)
	}
	parsed, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return fmt.Errorf("reading a time: %w", err)
	}
	*t = parsed
	return nil
}

// Seconds is a duration in seconds as the API shows it, to the millisecond.
type Seconds float64

// SecondsOf is d in seconds.
func SecondsOf(d time.Duration) Seconds { return Seconds(d.Seconds()) }

// Duration is s as Go counts it.
func (s Seconds) Duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// MarshalJSON writes a number; 0 for what is none.
func (s Seconds) MarshalJSON() ([]byte, error) { return number(float64(s)), nil }

// Millis is a duration in milliseconds as the API shows it, to the microsecond.
type Millis float64

// MillisOf is d in milliseconds.
func MillisOf(d time.Duration) Millis { return Millis(float64(d) / float64(time.Millisecond)) }

// MarshalJSON writes a number; 0 for what is none.
func (m Millis) MarshalJSON() ([]byte, error) { return number(float64(m)), nil }

// Ratio is a number between 0 and 1 as the API shows it, to a thousandth.
type Ratio float64

// MarshalJSON writes a number; 0 for what is none.
func (r Ratio) MarshalJSON() ([]byte, error) { return number(float64(r)), nil }

// number writes three places after the point. What is not a number is written as 0: JSON
// has no such value, and one strange figure must not cost the whole document.
func number(f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		f = 0
	}
	return strconv.AppendFloat(nil, math.Round(f*1e3)/1e3, 'f', -1, 64)
}
