package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sereno/cmd/sereno/internal/admin"
)

func topCommand() *cobra.Command {
	var forText string
	var limit int
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "top [SERVICE]",
		Short: "Show who asks most, and for what",
		Long: `Counts for ten seconds, or for --for, and shows the names and clients that a DNS service was
asked most, and the users, realms and NASes of a RADIUS service. Nothing is counted while
nobody looks, and nothing is kept. REQUESTS is at least so many: the sketch has a fixed size,
and what it may have missed stands under OVER. Only over the node's socket.`,
		Example: `  sereno top
  sereno top resolver --for 30s --limit 20
  sereno top --watch
  sereno top --json | jq '.services[].lists[] | {of, first: .entries[0].key}'`,
		Args: cobra.MaximumNArgs(1),
	}
	socket := socketFlag(cmd)
	completes(cmd, socket, serviceNames(""))
	cmd.Flags().StringVar(&forText, "for", "10s", "count for this `DURATION`, at most 1m")
	cmd.Flags().IntVar(&limit, "limit", 10, "`ENTRIES` of each list, at most 100")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the API's answer")
	cmd.Flags().BoolVar(&watch, "watch", false, "count again and again until interrupted")
	cmd.MarkFlagsMutuallyExclusive("json", "watch")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := admin.ParseFor(forText)
		if err != nil {
			return Exit(Usage, fmt.Errorf("--for: %w", err))
		}
		arguments := url.Values{"for": {d.String()}, "limit": {strconv.Itoa(limit)}}
		if len(args) > 0 {
			arguments["service"] = args
		}
		where, err := socket()
		if err != nil {
			return err
		}
		node := newClient(where)
		count := func(ctx context.Context) ([]byte, error) {
			return node.ask(ctx, d+readTimeout, http.MethodGet, "/api/v1/top", arguments)
		}
		if watch {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, unix.SIGTERM)
			defer stop()
			return watchTop(ctx, node, count, cmd.OutOrStdout())
		}
		body, err := count(cmd.Context())
		if err != nil || asJSON {
			return showUnless(cmd, string(body), err)
		}
		text, err := topOf(node, body)
		return showUnless(cmd, text, err)
	}
	return cmd
}

// watchTop shows one count after the other until ctx ends.
func watchTop(ctx context.Context, node *client, count func(context.Context) ([]byte, error), out io.Writer) error {
	before := ""
	if terminal(out) {
		before = "\x1b[H\x1b[2J\x1b[3J" // to the corner, and clear
	}
	for {
		body, err := count(ctx)
		if ctx.Err() != nil {
			return nil
		}
		text := ""
		if err == nil {
			text, err = topOf(node, body)
		}
		if err != nil {
			return err
		}
		if _, err := io.WriteString(out, before+utc(time.Now())+", Ctrl-C ends\n\n"+text+"\n"); err != nil {
			return fmt.Errorf("writing the result: %w", err)
		}
	}
}

func topOf(node *client, body []byte) (string, error) {
	var top admin.Top
	if err := json.Unmarshal(body, &top); err != nil {
		return "", node.strange(err)
	}
	return topText(top), nil
}

// topText is a table for each list.
func topText(top admin.Top) string {
	var b string
	for i := range top.Services {
		s := &top.Services[i]
		if i > 0 {
			b += "\n"
		}
		b += snip(clean(fmt.Sprintf("%s (%s): %s requests in %s", s.Name, s.Kind, amount(s.Requests), age(top.Window.Duration()))), width) + "\n"
		for _, list := range s.Lists {
			g := grid{columns: []column{
				{title: listTitle(list.Of), least: 20}, {title: "REQUESTS", right: true}, {title: "OVER", right: true}, {title: "A SECOND", right: true}, {title: "SHARE", right: true},
			}}
			for _, e := range list.Entries {
				g.add(e.Key, amount(e.Requests), amount(e.Over), fmt.Sprintf("%.1f", e.PerSecond), fmt.Sprintf("%.1f%%", 100*e.Share))
			}
			if text := g.unlessEmpty(); text != "" {
				b += "\n" + text
			}
		}
	}
	return b
}

func listTitle(of string) string {
	switch of {
	case "names":
		return "NAME"
	case "clients":
		return "CLIENT"
	case "users":
		return "USER"
	case "realms":
		return "REALM"
	case "nases":
		return "NAS"
	}
	return clean(of)
}

// showUnless shows a result if there is one.
func showUnless(cmd *cobra.Command, result string, err error) error {
	if err != nil {
		return err
	}
	return show(cmd, result)
}
