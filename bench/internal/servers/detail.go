package servers

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"sereno/bench/stub"
)

// DetailRecord is one record of FreeRADIUS's detail file.
type DetailRecord struct {
	stub.Record
	SessionTime int   // Acct-Session-Time
	Delay       int64 // Acct-Delay-Time, -1 without one
	Timestamp   int64 // when the server wrote it, Unix seconds
}

// ReadDetail gives the records of a detail file in its order; none of one that is not there. What a killed server left
// half-written at the end is no record: it never acknowledged it.
func ReadDetail(path string) ([]DetailRecord, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	status := map[string]uint32{"Start": stub.AcctStart, "Stop": stub.AcctStop, "Interim-Update": stub.AcctInterim}
	var records []DetailRecord
	none := DetailRecord{Delay: -1}
	r := none
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		key, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), " = ")
		number, _ := strconv.ParseInt(value, 10, 64) // of those that are numbers
		switch {
		case key == "Acct-Session-Id":
			r.Session = strings.Trim(value, `"`)
		case key == "Acct-Status-Type":
			r.Status = status[value]
		case key == "Acct-Session-Time":
			r.SessionTime = int(number)
		case key == "Acct-Delay-Time":
			r.Delay = number
		case key == "Timestamp":
			r.Timestamp = number
		case !ok && key == "" && r.Session != "":
			records = append(records, r)
			r = none
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return records, nil
}
