package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// Formats of an export.
const (
	ExportDetail = "detail" // FreeRADIUS's detail file
	ExportJSON   = "json"   // a SpoolRecord on each line
)

// Trailers of an export: how many records it has, and how many could not be read and are
// missing in it. An export without them was cut off.
const (
	TrailerRecords = "Sereno-Records"
	TrailerDamaged = "Sereno-Damaged"
)

// ExportSpools writes the records that q names, one after the other, until ctx ends.
func ExportSpools(ctx context.Context, from SpoolReader, q SpoolQuery, format string, w io.Writer) (records, damaged uint64, err error) {
	q.Attributes = true
	var wrote error
	var line []byte
	err = from.WalkSpools(q, func(_ SpoolName, r *SpoolRecord) bool {
		switch {
		case ctx.Err() != nil:
			wrote = ctx.Err()
		case r == nil:
			return true
		case r.Damaged:
			damaged++
			return true
		case format == ExportDetail:
			line = r.AppendDetail(line[:0])
		default:
			if line, wrote = json.Marshal(r); wrote == nil {
				line = append(line, '\n')
			}
		}
		if wrote == nil {
			_, wrote = w.Write(line)
		}
		if wrote == nil {
			records++
		}
		return wrote == nil
	})
	return records, damaged, errors.Join(err, wrote)
}

// AppendDetail appends the record as FreeRADIUS's rlm_detail writes it, so that its detail
// listener can take it: Timestamp is when it was stored, from which the listener computes
// Acct-Delay-Time. Secrets are left out.
func (r *SpoolRecord) AppendDetail(b []byte) []byte {
	b = r.Stored.UTC().AppendFormat(b, time.ANSIC)
	b = append(b, '\n')
	for _, a := range r.Attributes {
		if !a.Secret {
			b = fmt.Appendf(b, "\t%s = %s\n", a.Name, a.Value)
		}
	}
	if nas, err := netip.ParseAddr(r.NAS); err == nil && nas.Is4() {
		b = fmt.Appendf(b, "\tClient-IP-Address = %s\n", nas)
	}
	return fmt.Appendf(b, "\tTimestamp = %d\n\n", r.Stored.Unix())
}

// errExports turns away one export too many.
var errExports = errors.New("other exports are running")

// spoolExport serves GET /api/v1/spool/export.
func (s *Server) spoolExport(w http.ResponseWriter, r *http.Request) {
	arguments := r.URL.Query()
	q, err := spoolQuery(arguments)
	format := arguments.Get("format")
	if format == "" {
		format = ExportDetail
	}
	if err == nil && format != ExportDetail && format != ExportJSON {
		err = fmt.Errorf("%w: format is detail or json, not %s", ErrBadArgument, quote(format))
	}
	if err != nil {
		writeError(w, codeOf(err), err)
		return
	}
	select {
	case s.exports <- struct{}{}:
		defer func() { <-s.exports }()
	default:
		writeError(w, http.StatusServiceUnavailable, errExports)
		return
	}
	w.Header().Set("Content-Type", map[string]string{ExportDetail: "text/plain; charset=utf-8", ExportJSON: "application/x-ndjson"}[format])
	w.Header().Set("Trailer", TrailerRecords+", "+TrailerDamaged)
	if r.Method == http.MethodHead {
		return
	}
	patient := &patientWriter{w: w, control: http.NewResponseController(w), within: s.limits.write}
	if err := patient.control.SetReadDeadline(time.Time{}); err != nil { // that of the request would end the answer
		writeError(w, codeOf(err), err)
		return
	}
	out := bufio.NewWriterSize(patient, exportBuffer)
	records, damaged, err := ExportSpools(r.Context(), s.node, q, format, out)
	if err == nil {
		err = out.Flush()
	}
	switch {
	case err != nil && !patient.begun:
		writeError(w, codeOf(err), err)
	case err != nil:
		panic(http.ErrAbortHandler) // who reads shall not take it for all
	default:
		w.Header().Set(TrailerRecords, strconv.FormatUint(records, 10))
		w.Header().Set(TrailerDamaged, strconv.FormatUint(damaged, 10))
	}
}

const exportBuffer = 64 << 10

// patientWriter gives its reader a bounded time for each piece instead of for all.
type patientWriter struct {
	w       io.Writer
	control *http.ResponseController
	within  time.Duration
	begun   bool
}

// Write writes one piece.
func (p *patientWriter) Write(b []byte) (int, error) {
	p.begun = true
	if err := p.control.SetWriteDeadline(time.Now().Add(p.within)); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}
