package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sereno/cmd/sereno/internal/admin"
)

func traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Follow single requests live: every step, with its time and reason",
		Long: `Shows what happens to the requests that fit, step by step: received, gates, cache, backends,
replies, answer. It ends by itself after --for; above 1,000 lines a second the rest is counted
and said. RADIUS attributes are shown in words; passwords and keys are not. Only over the node's
socket. Lines of one request have the same #number; the second time is since it came.`,
		Example: `  sereno trace dns --client 10.1.2.3
  sereno trace radius --user alice@example.net`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return Exit(Usage, errors.New("trace what? dns or radius"))
		},
	}
	cmd.AddCommand(traceDNSCommand(), traceRADIUSCommand())
	return cmd
}

func traceDNSCommand() *cobra.Command {
	var client, name string
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Follow DNS queries of a client, or for names below one",
		Example: `  sereno trace dns --client 10.1.2.3
  sereno trace dns --client 10.1.0.0/16 --name example.com --for 5m`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&client, "client", "", "`IP` address or prefix of who asks")
	cmd.Flags().StringVar(&name, "name", "", "this `NAME` and what is below it")
	cmd.MarkFlagsOneRequired("client", "name")
	traces(cmd, "/api/v1/trace/dns", map[string]*string{"client": &client, "name": &name})
	return cmd
}

func traceRADIUSCommand() *cobra.Command {
	var user, nas string
	cmd := &cobra.Command{
		Use:   "radius",
		Short: "Follow RADIUS requests of a user or a NAS",
		Example: `  sereno trace radius --user alice@example.net
  sereno trace radius --nas 10.1.0.1 --for 30s`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&user, "user", "", "`USER` as the NAS names him, in whatever case")
	cmd.Flags().StringVar(&nas, "nas", "", "`IP` address or prefix of the NAS")
	cmd.MarkFlagsOneRequired("user", "nas")
	traces(cmd, "/api/v1/trace/radius", map[string]*string{"user": &user, "nas": &nas})
	return cmd
}

// traces makes a command that follows requests at path.
func traces(cmd *cobra.Command, path string, filter map[string]*string) {
	socket := socketFlag(cmd)
	forText := cmd.Flags().String("for", "1m", "end after this `DURATION`, at most 10m")
	asJSON := cmd.Flags().Bool("json", false, "print the API's lines, one JSON document each")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d, err := admin.ParseFor(*forText)
		if err != nil {
			return Exit(Usage, fmt.Errorf("--for: %w", err))
		}
		arguments := url.Values{"for": {d.String()}}
		for name, value := range filter {
			if *value == "" {
				continue
			}
			if name == "client" || name == "nas" {
				if _, err := admin.ParsePrefix(*value); err != nil {
					return Exit(Usage, fmt.Errorf("--%s: %w", name, err))
				}
			}
			arguments.Set(name, *value)
		}
		where, err := socket()
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, unix.SIGTERM)
		defer stop()
		node := newClient(where)
		err = node.follow(ctx, path, arguments, func(line []byte) error {
			if *asJSON {
				return show(cmd, string(line)+"\n")
			}
			var l admin.TraceLine
			if err := json.Unmarshal(line, &l); err != nil {
				return node.strange(err)
			}
			return show(cmd, lineText(&l))
		})
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
}

// lineText is one line, and one more for each attribute.
func lineText(l *admin.TraceLine) string {
	at := l.At.UTC().Format("15:04:05.000")
	if l.Service == "" {
		return fmt.Sprintf("%s %s: %s\n", at, clean(l.Step), clean(l.Text))
	}
	out := fmt.Sprintf("%s %s #%d %.3fms %-8s %s\n", at, clean(l.Service), l.Request, float64(l.After), clean(l.Step), clean(l.Text))
	var b strings.Builder
	b.WriteString(out)
	for _, a := range l.Attributes {
		b.WriteString("    " + clean(a) + "\n")
	}
	return b.String()
}

// maxLine is the longest line of a trace in bytes: a packet's attributes in words.
const maxLine = 1 << 20

// follow reads lines from the node until it ends them.
func (c *client) follow(ctx context.Context, path string, arguments url.Values, line func([]byte) error) error {
	answer, err := c.stream(ctx, path, arguments)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if err := line(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return c.unreachable(err, c.read)
	}
	return nil
}
