package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sereno/cmd/sereno/internal/admin"
)

// SpoolFiles is a spool's directory that is only read.
type SpoolFiles interface {
	admin.SpoolReader
	Close() error
}

// SpoolOpener reads the directory of a stopped node's spool. Notes say what is damaged in it;
// sound is false when records may be missing because of that.
type SpoolOpener func(dir string) (files SpoolFiles, notes []string, sound bool, err error)

// SpoolCommand looks at the accounting records on disk, and changes what becomes of them.
func SpoolCommand(open SpoolOpener) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "spool",
		Short: "Look at accounting records that no server has yet: list, show, export, retry, drop",
		Long: `Works on the accounting records that a RADIUS service keeps on disk. They are delivered by
themselves once a server acknowledges them; nothing is deleted unless ` + "`drop`" + ` is asked to.
A RECORD is SERVICE/NUMBER, as ` + "`list`" + ` shows it.`,
		Example: `  sereno spool list --set-aside
  sereno spool show pppoe/17
  sereno spool export > records.detail`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return Exit(Usage, errors.New("which command? list, show, export, retry or drop"))
		},
	}
	cmd.AddCommand(spoolListCommand(open), spoolShowCommand(open), spoolExportCommand(open), spoolRetryCommand(), spoolDropCommand())
	return cmd
}

// spoolFilter are the flags that name records.
type spoolFilter struct {
	service, session, user, nas string
	aside                       bool
}

func (f *spoolFilter) flags(cmd *cobra.Command, aside bool) {
	cmd.Flags().StringVar(&f.service, "service", "", "records of this `SERVICE`")
	cmd.Flags().StringVar(&f.session, "session", "", "records of this `ACCT-SESSION-ID`")
	cmd.Flags().StringVar(&f.user, "user", "", "records of this `USER-NAME`")
	cmd.Flags().StringVar(&f.nas, "nas", "", "records from this `ADDRESS`")
	if aside {
		cmd.Flags().BoolVar(&f.aside, "set-aside", false, "records that are set aside, because no server acknowledged them")
	}
}

// arguments are the filter as the API takes it.
func (f *spoolFilter) arguments() (url.Values, error) {
	out := url.Values{}
	for name, value := range map[string]string{"service": f.service, "session": f.session, "user": f.user, "nas": f.nas} {
		if value != "" {
			out.Set(name, value)
		}
	}
	if f.aside {
		out.Set("set_aside", "true")
	}
	if f.nas != "" {
		if _, err := netip.ParseAddr(f.nas); err != nil {
			return nil, Exit(Usage, fmt.Errorf("--nas is an IP address, not %q", f.nas))
		}
	}
	return out, nil
}

// query is the filter for a directory.
func (f *spoolFilter) query() admin.SpoolQuery {
	q := admin.SpoolQuery{Service: f.service, Session: f.session, User: f.user, Aside: f.aside}
	q.NAS, _ = netip.ParseAddr(f.nas) // arguments has looked at it
	return q
}

// directory gives a command the flag --dir. with runs what reads the directory; its exit code is
// 1 when records may be missing.
type directory struct {
	path string
	open SpoolOpener
}

func (d *directory) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.path, "dir", "", "read the files of a stopped node instead: `STATE_DIR/spool/SERVICE`, or a copy of it")
	_ = cmd.MarkFlagDirname("dir")
	cmd.MarkFlagsMutuallyExclusive("dir", "socket")
}

func (d *directory) with(cmd *cobra.Command, read func(admin.SpoolReader) error) error {
	files, notes, sound, err := d.open(d.path)
	if err != nil {
		return err
	}
	for _, n := range notes {
		note(cmd, clean(n))
	}
	if err := errors.Join(read(files), files.Close()); err != nil {
		return err
	}
	if !sound {
		return errors.New("damaged files: records may be missing; a node that starts keeps the damaged pieces as damaged-*.bin")
	}
	return nil
}

func spoolListCommand(open SpoolOpener) *cobra.Command {
	var filter spoolFilter
	dir := directory{open: open}
	var limit int
	var after string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List records, oldest first",
		Long: `Lists the records that no server has yet, in the order in which they came. TRIES is how often
no server acknowledged a record since the node's start; after ten tries over ten minutes, while
servers acknowledge others, it is set aside.`,
		Example: `  sereno spool list
  sereno spool list --set-aside --service pppoe
  sereno spool list --user alice@example.net --json
  sereno spool list --after pppoe/100 --limit 1000
  sereno spool list --dir /var/lib/sereno/spool/pppoe    # of a node that does not run`,
		Args: cobra.NoArgs,
	}
	socket := socketFlag(cmd)
	dir.flag(cmd)
	filter.flags(cmd, true)
	cmd.Flags().IntVar(&limit, "limit", 100, "at most this many `RECORDS`")
	cmd.Flags().StringVar(&after, "after", "", "records behind this `RECORD`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		arguments, err := filter.arguments()
		if err != nil {
			return err
		}
		if limit < 1 {
			return Exit(Usage, errors.New("--limit is 1 or more"))
		}
		q := filter.query()
		if after != "" {
			if q.After, err = admin.ParseSpoolName(after); err != nil {
				return Exit(Usage, fmt.Errorf("--after: %w", err))
			}
		}
		showPage := func(page admin.SpoolPage) error {
			if asJSON {
				return showJSON(cmd, page)
			}
			return show(cmd, spoolText(page, filter))
		}
		if dir.path != "" {
			return dir.with(cmd, func(from admin.SpoolReader) error {
				page, err := wholePage(limit, after, func(limit int, after string) (admin.SpoolPage, error) {
					if after != "" {
						q.After, _ = admin.ParseSpoolName(after) // ours
					}
					return admin.ListSpools(from, q, limit)
				})
				if err != nil {
					return err
				}
				return showPage(page)
			})
		}
		where, err := socket()
		if err != nil {
			return err
		}
		page, err := newClient(where).spoolPage(cmd.Context(), arguments, limit, after)
		if err != nil {
			return err
		}
		return showPage(page)
	}
	return cmd
}

// spoolPage asks for pages until limit records are there.
func (c *client) spoolPage(ctx context.Context, arguments url.Values, limit int, after string) (admin.SpoolPage, error) {
	return wholePage(limit, after, func(limit int, after string) (page admin.SpoolPage, err error) {
		arguments.Set("limit", strconv.Itoa(min(limit, admin.MaxSpoolPage)))
		if after != "" {
			arguments.Set("after", after)
		}
		body, err := c.get(ctx, "/api/v1/spool", arguments)
		if err != nil {
			return page, err
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return page, c.strange(err)
		}
		return page, nil
	})
}

// wholePage puts pages together, which may be short, until there are limit records or no more.
func wholePage(limit int, after string, get func(limit int, after string) (admin.SpoolPage, error)) (admin.SpoolPage, error) {
	var whole admin.SpoolPage
	for {
		page, err := get(limit-len(whole.Records), after)
		if err != nil {
			return whole, err
		}
		whole.Spools, whole.Next = page.Spools, page.Next
		whole.Records = append(whole.Records, page.Records...)
		if page.Next == "" || len(whole.Records) >= limit {
			return whole, nil
		}
		after = page.Next
	}
}

// spoolText is a line for each spool and a table of records.
func spoolText(page admin.SpoolPage, filter spoolFilter) string {
	var b strings.Builder
	for _, s := range page.Spools {
		if filter.service == "" || filter.service == s.Service {
			b.WriteString(snip(clean(totalsText(s)), width) + "\n")
		}
	}
	if len(page.Spools) == 0 {
		b.WriteString("no RADIUS service has a spool\n")
	}
	g := grid{columns: []column{
		{title: "RECORD", least: 14}, {title: "SESSION", least: 12}, {title: "NAS", least: 15}, {title: "USER", least: 12}, {title: "TYPE", least: 8},
		{title: "AGE", right: true}, {title: "TRIES", right: true}, {title: "STATE"},
	}}
	for _, r := range page.Records {
		what := r.Type
		if r.Damaged {
			what = "DAMAGED"
		}
		g.add(r.Record, r.Session, r.NAS, r.User, what, age(r.Age.Duration()), strconv.Itoa(r.Tries), r.State)
	}
	if text := g.unlessEmpty(); text != "" {
		b.WriteString("\n" + text)
	}
	if page.Next != "" {
		fmt.Fprintf(&b, "\nthere are more: --after %s shows the next, --limit more at once\n", clean(page.Next))
	}
	return b.String()
}

func totalsText(s admin.SpoolTotals) string {
	text := s.Service + ": nothing waits"
	if s.Records > 0 {
		text = fmt.Sprintf("%s: %d wait, %d KiB, the oldest for %s", s.Service, s.Records, (s.Bytes+1023)>>10, age(s.Oldest.Duration()))
	}
	if s.SetAside > 0 {
		text += fmt.Sprintf("; %d are set aside", s.SetAside)
	}
	return text
}

func spoolShowCommand(open SpoolOpener) *cobra.Command {
	var asJSON bool
	dir := directory{open: open}
	cmd := &cobra.Command{
		Use:   "show RECORD",
		Short: "Show one record with its attributes",
		Long: `Shows one record with its attributes as the NAS sent them. Passwords and keys are not shown.
Octets that may be text are shown as text too.`,
		Example: "  sereno spool show pppoe/17",
		Args:    cobra.ExactArgs(1),
	}
	socket := socketFlag(cmd)
	dir.flag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := admin.ParseSpoolName(args[0])
		if err != nil {
			return Exit(Usage, err)
		}
		showRecord := func(r admin.SpoolRecord) error {
			if asJSON {
				return showJSON(cmd, r)
			}
			return show(cmd, recordText(r))
		}
		if dir.path != "" {
			return dir.with(cmd, func(from admin.SpoolReader) error {
				r, err := admin.ReadSpooled(from, name)
				if err != nil {
					return err
				}
				return showRecord(r)
			})
		}
		where, err := socket()
		if err != nil {
			return err
		}
		node := newClient(where)
		body, err := node.get(cmd.Context(), "/api/v1/spool/record", url.Values{"record": args})
		if err != nil {
			return err
		}
		var r admin.SpoolRecord
		if err := json.Unmarshal(body, &r); err != nil {
			return node.strange(err)
		}
		return showRecord(r)
	}
	return cmd
}

// recordText is one record in lines.
func recordText(r admin.SpoolRecord) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, stored %s, %s ago, %d bytes, tried %d times\n", clean(r.Record), clean(r.State), utc(r.Stored.Time),
		age(r.Age.Duration()), r.Bytes, r.Tries)
	if r.Damaged {
		b.WriteString("! it is damaged on disk and cannot be read\n")
		return b.String()
	}
	fmt.Fprintf(&b, "from %s, for pool %s\n\n", clean(r.NAS), clean(r.Pool))
	for _, a := range r.Attributes {
		value := a.Value
		switch text := textOf(a.Value); {
		case a.Secret:
			value = "(secret)"
		case text != "":
			value += "  (" + text + ")"
		}
		fmt.Fprintf(&b, "  %s = %s\n", clean(a.Name), clean(value))
	}
	return b.String()
}

// showJSON prints a document as the API would.
func showJSON(cmd *cobra.Command, document any) error {
	body, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return err
	}
	return show(cmd, string(body)+"\n")
}
