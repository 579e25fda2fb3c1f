package cli

import (
	"bufio"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"sereno/cmd/sereno/internal/admin"
)

func spoolRetryCommand() *cobra.Command {
	var filter spoolFilter
	var all bool
	cmd := &cobra.Command{
		Use:   "retry [RECORD...]",
		Short: "Put records that were set aside back into their sessions",
		Long: `Puts records that were set aside, those that are named, those that fit or all, back at the end of
their sessions: they are delivered like the others, and set aside again if no server takes them.`,
		Example: `  sereno spool retry pppoe/17 pppoe/18
  sereno spool retry --user alice@example.net
  sereno spool retry --all`,
	}
	socket := socketFlag(cmd)
	filter.flags(cmd, false)
	cmd.Flags().BoolVar(&all, "all", false, "all that are set aside")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		wishes, err := wishesOf(filter, all, args)
		if err != nil {
			return err
		}
		done, err := changeAll(cmd, socket, "/api/v1/spool/retry", wishes)
		return said(cmd, fmt.Sprintf("%s back in the session of each\n", countText(done.Records)), done, err)
	}
	return cmd
}

func spoolDropCommand() *cobra.Command {
	var filter spoolFilter
	var all, yes bool
	cmd := &cobra.Command{
		Use:   "drop [RECORD...]",
		Short: "Delete records that no server has",
		Long: `Deletes records, those that are named, those that fit or all, without delivering them: nobody has
them any more. What is being delivered at this moment is left. It asks first; --yes answers.
` + "`sereno spool export`" + ` with the same flags keeps a copy.`,
		Example: `  sereno spool drop pppoe/17
  sereno spool drop --set-aside --yes
  sereno spool drop --service pppoe --all`,
	}
	socket := socketFlag(cmd)
	filter.flags(cmd, true)
	cmd.Flags().BoolVar(&all, "all", false, "every record")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		wishes, err := wishesOf(filter, all, args)
		if err != nil {
			return err
		}
		if !yes {
			what, err := whatIsDropped(cmd, socket, filter, args)
			if err != nil {
				return err
			}
			if err := sure(cmd, what); err != nil {
				return err
			}
		}
		done, err := changeAll(cmd, socket, "/api/v1/spool/drop", wishes)
		return said(cmd, fmt.Sprintf("%s dropped\n", countText(done.Records)), done, err)
	}
	return cmd
}

// wishesOf is what to ask the node for: one change for each record, or one for all that fit.
func wishesOf(filter spoolFilter, all bool, records []string) ([]url.Values, error) {
	arguments, err := filter.arguments()
	if err != nil {
		return nil, err
	}
	narrow := filter.session != "" || filter.user != "" || filter.nas != "" || filter.aside
	switch {
	case len(records) > 0 && (all || len(arguments) > 0):
		return nil, Exit(Usage, errors.New("either name records, or say with flags which ones fit"))
	case all && narrow:
		return nil, Exit(Usage, errors.New("--all, or those that fit: not both"))
	case len(records) == 0 && !all && !narrow:
		return nil, Exit(Usage, errors.New("which records? Name them, or say which ones fit, or --all"))
	}
	if len(records) == 0 {
		if all {
			arguments.Set("all", "true")
		}
		return []url.Values{arguments}, nil
	}
	var out []url.Values
	for _, r := range records {
		if _, err := admin.ParseSpoolName(r); err != nil {
			return nil, Exit(Usage, err)
		}
		out = append(out, url.Values{"record": {r}})
	}
	return out, nil
}

// changeAll asks for one change after the other, and stops at the first that is refused.
func changeAll(cmd *cobra.Command, socket func() (string, error), path string, wishes []url.Values) (all admin.SpoolChanged, err error) {
	for _, arguments := range wishes {
		var done admin.SpoolChanged
		if err := post(cmd, socket, path, arguments, &done); err != nil {
			return all, err
		}
		all.Records += done.Records
		all.Busy += done.Busy
	}
	return all, nil
}

// said prints what was done, also where it ended with an error.
func said(cmd *cobra.Command, text string, done admin.SpoolChanged, err error) error {
	if done.Busy > 0 {
		text += fmt.Sprintf("%d being delivered at this moment: left\n", done.Busy)
	}
	if err != nil && done == (admin.SpoolChanged{}) {
		return err
	}
	return errors.Join(show(cmd, text), err)
}

func countText(n int) string {
	if n == 1 {
		return "1 record is"
	}
	return fmt.Sprintf("%d records are", n)
}

// mostCounted is how many records are counted before somebody is asked.
const mostCounted = 10_000

// whatIsDropped says how many records a drop is about.
func whatIsDropped(cmd *cobra.Command, socket func() (string, error), filter spoolFilter, records []string) (string, error) {
	if n := len(records); n > 0 {
		return strings.TrimSuffix(strings.TrimSuffix(countText(n), " are"), " is"), nil
	}
	where, err := socket()
	if err != nil {
		return "", err
	}
	arguments, err := filter.arguments()
	if err != nil {
		return "", err
	}
	page, err := newClient(where).spoolPage(cmd.Context(), arguments, mostCounted, "")
	if err != nil {
		return "", err
	}
	if n := totalOf(page.Spools, filter); n > 0 {
		return fmt.Sprintf("%d records", n), nil
	}
	more := ""
	if page.Next != "" {
		more = "more than "
	}
	return fmt.Sprintf("%s%d records", more, len(page.Records)), nil
}

// sure asks. Where nobody can answer, --yes is needed.
func sure(cmd *cobra.Command, what string) error {
	in := cmd.InOrStdin()
	if _, isFile := in.(*os.File); isFile && !terminal(in) {
		return Exit(Usage, fmt.Errorf("this deletes %s that no server has; to do it without being asked, say --yes", what))
	}
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "Delete %s that no server has? They cannot be brought back. [y/N] ", what)
	answer, _ := bufio.NewReader(in).ReadString('\n') // what ends without an answer is none
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing is dropped")
}
