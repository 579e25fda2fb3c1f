package admin

import (
	"encoding/csv"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Availability is the answer of GET /api/v1/availability: what the books of availability
// say about services and backends.
type Availability struct {
	Node          string      `json:"node"`
	At            Time        `json:"at"`                   // by the books, the end of every window
	Behind        Seconds     `json:"clock_behind_seconds"` // how far the clock was set back behind the books; mostly 0
	TargetPercent Percent     `json:"target_percent"`
	Objects       List[Books] `json:"objects"` // services first
}

// Books are those of one object.
type Books struct {
	Kind    string        `json:"kind"` // service, backend
	Name    string        `json:"name"`
	Pool    string        `json:"pool"`  // of a backend
	Role    string        `json:"role"`  // of a backend: dns, auth, acct
	State   string        `json:"state"` // up, degraded, drained, down, unknown
	Cause   string        `json:"cause"`
	Since   Time          `json:"since"` // of the state
	First   Time          `json:"first"` // where the books begin: what was before is unknown
	Windows List[Figures] `json:"windows"`
}

// Figures are those of one object in one window of time. The seconds in the five states
// add up to the window.
type Figures struct {
	Window              string   `json:"window"` // 1h, 24h, 7d, 30d, 365d, or as it was asked for
	From                Time     `json:"from"`
	To                  Time     `json:"to"`
	Up                  Seconds  `json:"up_seconds"`
	Degraded            Seconds  `json:"degraded_seconds"` // is up
	Drained             Seconds  `json:"drained_seconds"`  // counts neither way
	Down                Seconds  `json:"down_seconds"`
	Unknown             Seconds  `json:"unknown_seconds"` // counts neither way
	Outages             int      `json:"outages"`
	Longest             *Outage  `json:"longest"` // null without an outage, as are the next three
	Last                *Outage  `json:"last"`
	MTBF                *Seconds `json:"mtbf_seconds"`
	MTTR                *Seconds `json:"mttr_seconds"`
	AvailabilityPercent *Percent `json:"availability_percent"` // null when nothing is known
	Nines               int      `json:"nines"`
	Level               int      `json:"level"` // of the classical table, 1 to 8; 0 below
	LevelOf             string   `json:"level_of"`
	Good                uint64   `json:"good"`  // requests that were answered well,
	Valid               uint64   `json:"valid"` // of these; not those that clients got wrong
	GoodPercent         *Percent `json:"good_percent"`
	Budget              Budget   `json:"budget"`
}

// Outage is a time in which an object was down.
type Outage struct {
	From  Time    `json:"from"`
	Until Time    `json:"until"` // null while it lasts
	Down  Seconds `json:"down_seconds"`
	Cause string  `json:"cause"`
}

// Budget is what the target allows to go wrong in the window; what is left is below 0 when
// more went wrong.
type Budget struct {
	Allowed         Seconds `json:"allowed_seconds"`
	Left            Seconds `json:"left_seconds"`
	RequestsAllowed Ratio   `json:"requests_allowed"`
	RequestsLeft    Ratio   `json:"requests_left"`
}

// Percent is a share in per cent as the API shows it: seven places, and never rounded up,
// so that 100 means all.
type Percent float64

// MarshalJSON writes a number; 0 for what is none.
func (p Percent) MarshalJSON() ([]byte, error) {
	return []byte(p.text(7)), nil
}

// text is p with so many places, rounded down. A float is a little off: what is less than
// a thousandth of the last place below the next step is the step.
func (p Percent) text(places int) string {
	f, scale := float64(p), math.Pow10(places)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		f = 0
	}
	floor := math.Floor(f*scale + 1e-3)
	if f < 100 && floor >= 100*scale {
		floor = 100*scale - 1
	}
	return strconv.FormatFloat(floor/scale, 'f', -1, 64)
}

// String is p with four places.
func (p Percent) String() string { return p.text(4) }

// windows are those that are shown when none is asked for (A30).
var windows = []time.Duration{time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour, 365 * 24 * time.Hour}

// WindowText is the length of a window as people write it: 24h, 30d.
func WindowText(d time.Duration) string {
	day := 24 * time.Hour
	switch {
	case d > day && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}

// availability serves the books as JSON or CSV.
func (s *Server) availability(w http.ResponseWriter, r *http.Request) {
	var body Availability
	arguments := r.URL.Query() // it was parsed before
	lengths, format, err := bookArguments(arguments)
	if err == nil && !s.bounded(r, func() { body, err = s.node.Availability(arguments.Get("service"), lengths) }) {
		err = errBusy
	}
	switch {
	case err != nil:
		writeJSON(w, codeOf(err), bodyOf(err))
	case format == "csv":
		w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
		out := csv.NewWriter(w)
		_ = out.WriteAll(body.rows()) // a client that went away needs no answer
	default:
		writeJSON(w, http.StatusOK, body)
	}
}

// bookArguments reads what was asked for.
func bookArguments(arguments url.Values) (lengths []time.Duration, format string, err error) {
	lengths = windows
	if since := arguments.Get("since"); since != "" {
		d, err := ParseFor(since)
		if err != nil {
			return nil, "", err
		}
		lengths = []time.Duration{d}
	}
	switch format = arguments.Get("format"); format {
	case "", "json", "csv":
		return lengths, format, nil
	}
	return nil, "", fmt.Errorf("%w: the format is json or csv, not %s", ErrBadArgument, quote(format))
}

// bookColumns are the titles of the CSV.
var bookColumns = []string{
	"kind", "name", "pool", "role", "state", "since", "window", "from", "to",
	"up_seconds", "degraded_seconds", "drained_seconds", "down_seconds", "unknown_seconds",
	"outages", "longest_seconds", "last_from", "last_until", "last_cause", "mtbf_seconds", "mttr_seconds",
	"availability_percent", "nines", "level", "good", "valid", "good_percent",
	"target_percent", "left_seconds", "requests_left",
}

// rows are the CSV: one row for each object and window, empty where JSON has null.
func (a *Availability) rows() [][]string {
	out := [][]string{bookColumns}
	for i := range a.Objects {
		o := &a.Objects[i]
		for j := range o.Windows {
			f := &o.Windows[j]
			var longest *Seconds
			var from, until Time
			cause := ""
			if f.Longest != nil {
				longest = &f.Longest.Down
			}
			if f.Last != nil {
				from, until, cause = f.Last.From, f.Last.Until, f.Last.Cause
			}
			out = append(out, []string{
				o.Kind, o.Name, o.Pool, o.Role, o.State, cell(&o.Since), f.Window, cell(&f.From), cell(&f.To),
				cell(&f.Up), cell(&f.Degraded), cell(&f.Drained), cell(&f.Down), cell(&f.Unknown),
				strconv.Itoa(f.Outages), cell(longest), cell(&from), cell(&until), cause, cell(f.MTBF), cell(f.MTTR),
				cell(f.AvailabilityPercent), strconv.Itoa(f.Nines), strconv.Itoa(f.Level),
				strconv.FormatUint(f.Good, 10), strconv.FormatUint(f.Valid, 10), cell(f.GoodPercent),
				cell(&a.TargetPercent), cell(&f.Budget.Left), cell(&f.Budget.RequestsLeft),
			})
		}
	}
	return out
}

// cell is a value as JSON writes it, without quotes; empty for null.
func cell[T interface{ MarshalJSON() ([]byte, error) }](v *T) string {
	if v == nil {
		return ""
	}
	text, err := (*v).MarshalJSON()
	if err != nil || string(text) == "null" {
		return ""
	}
	return strings.Trim(string(text), `"`)
}
