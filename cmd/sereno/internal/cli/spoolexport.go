package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/spf13/cobra"

	"sereno/cmd/sereno/internal/admin"
)

func spoolExportCommand(open SpoolOpener) *cobra.Command {
	var filter spoolFilter
	var format string
	dir := directory{open: open}
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print records as FreeRADIUS's detail file, or as JSON",
		Long: `Prints the records that no server has yet, all or those that fit, as they come from the disk:
as FreeRADIUS's detail file, which its detail listener takes, or, with --format json, one JSON
document on each line. Nothing is deleted, and a running node goes on delivering: what it has
delivered meanwhile may be in the export, too. Passwords and keys are left out.

Exit code 1 if a record could not be read: then the export is not whole.`,
		Example: `  sereno spool export > records.detail
  sereno spool export --set-aside --format json | jq -r .user
  sereno spool export --dir /var/lib/sereno/spool/pppoe > records.detail    # after a crash`,
		Args: cobra.NoArgs,
	}
	socket := socketFlag(cmd)
	dir.flag(cmd)
	filter.flags(cmd, true)
	cmd.Flags().StringVar(&format, "format", admin.ExportDetail, "detail or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		arguments, err := filter.arguments()
		if err != nil {
			return err
		}
		if format != admin.ExportDetail && format != admin.ExportJSON {
			return Exit(Usage, fmt.Errorf("--format is detail or json, not %q", format))
		}
		if dir.path != "" {
			return dir.with(cmd, func(from admin.SpoolReader) error {
				out := newExport(cmd, format, totalOf(from.SpoolTotals(), filter))
				buffered := bufio.NewWriterSize(out, 64<<10)
				records, damaged, err := admin.ExportSpools(cmd.Context(), from, filter.query(), format, buffered)
				if err == nil {
					err = buffered.Flush()
				}
				return out.end(records, damaged, err)
			})
		}
		arguments.Set("format", format)
		where, err := socket()
		if err != nil {
			return err
		}
		return newClient(where).export(cmd, arguments, filter, format)
	}
	return cmd
}

// export copies a node's answer to stdout.
func (c *client) export(cmd *cobra.Command, arguments url.Values, filter spoolFilter, format string) error {
	page, err := c.spoolPage(cmd.Context(), url.Values{}, 1, "")
	if err != nil {
		return err
	}
	answer, err := c.stream(cmd.Context(), "/api/v1/spool/export", arguments)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // everything was read, or is not wanted
	out := newExport(cmd, format, totalOf(page.Spools, filter))
	_, err = io.CopyBuffer(out, struct{ io.Reader }{answer.Body}, make([]byte, 256<<10))
	var failed *writeError
	if err != nil && !errors.As(err, &failed) && !errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%w; the export is not whole", c.unreachable(err, c.read))
	}
	records, missing := strconv.ParseUint(answer.Trailer.Get(admin.TrailerRecords), 10, 64)
	damaged, _ := strconv.ParseUint(answer.Trailer.Get(admin.TrailerDamaged), 10, 64) // comes with the other
	if err == nil && (missing != nil || records != out.records) {
		err = errors.New("the export was cut off: it is not whole")
	}
	return out.end(records, damaged, err)
}

// totalOf is how many records an export will have; 0: nobody knows.
func totalOf(spools []admin.SpoolTotals, filter spoolFilter) (n int64) {
	for _, s := range spools {
		if filter.service == "" || filter.service == s.Service {
			if !filter.aside {
				n += s.Records
			}
			n += s.SetAside
		}
	}
	if filter.session != "" || filter.user != "" || filter.nas != "" {
		return 0
	}
	return n
}

// export counts the records that go to stdout, and shows that it goes on where stderr is a
// terminal.
type export struct {
	cmd     *cobra.Command
	end1    []byte // of one record
	last    byte
	records uint64
	tracker *progress.Tracker
	bar     progress.Writer
	ended   chan struct{}
}

func newExport(cmd *cobra.Command, format string, total int64) *export {
	e := &export{cmd: cmd, end1: []byte("\n")}
	if format == admin.ExportDetail {
		e.end1 = []byte("\n\n")
	}
	if !terminal(cmd.ErrOrStderr()) {
		return e
	}
	e.tracker = &progress.Tracker{Message: "records", Total: total}
	e.bar, e.ended = progress.NewWriter(), make(chan struct{})
	e.bar.SetOutputWriter(cmd.ErrOrStderr())
	e.bar.SetTrackerLength(40)
	e.bar.SetUpdateFrequency(200 * time.Millisecond)
	e.bar.SetAutoStop(true) // a Stop before Render has begun is lost
	e.bar.AppendTracker(e.tracker)
	go func() { defer close(e.ended); e.bar.Render() }()
	return e
}

// writeError is of stdout, not of the node.
type writeError struct{ error }

// Write copies to stdout.
func (e *export) Write(b []byte) (int, error) {
	n, err := e.cmd.OutOrStdout().Write(b)
	before := e.records
	e.records += uint64(bytes.Count(b[:n], e.end1))
	if len(e.end1) == 2 && n > 0 {
		if e.last == '\n' && b[0] == '\n' { // one that ends across two pieces
			e.records++
		}
		e.last = b[n-1]
	}
	if e.tracker != nil {
		e.tracker.Increment(int64(e.records - before))
	}
	if err != nil {
		return n, &writeError{fmt.Errorf("writing: %w", err)}
	}
	return n, nil
}

// end takes the bar away and says how it ended.
func (e *export) end(records, damaged uint64, err error) error {
	if e.tracker != nil {
		if err != nil {
			e.tracker.MarkAsErrored()
		} else {
			e.tracker.MarkAsDone()
		}
		e.bar.Stop()
		<-e.ended
	}
	if err != nil {
		return err
	}
	note(e.cmd, fmt.Sprintf("%d records", records))
	if damaged > 0 {
		return fmt.Errorf("%d records are damaged and are missing in the export", damaged)
	}
	return nil
}

// textOf is what octets (0x…) say if all of them are printable; else empty.
func textOf(value string) string {
	digits, ok := strings.CutPrefix(value, "0x")
	b, err := hex.DecodeString(digits)
	if !ok || err != nil || len(b) == 0 || bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return strconv.Quote(string(b))
}
