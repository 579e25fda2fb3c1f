package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sereno/cmd/sereno/internal/admin"
)

// watchInterval is the time between two refreshes.
const watchInterval = 2 * time.Second

func statusCommand() *cobra.Command {
	var asJSON, check, watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what is up, what is not, and why",
		Long: `Shows the node's services, backends, routes and sessions. A line that begins with ! needs
a look. --json prints the answer of the API as it is.

Exit code 0 when the node answered; with --check only if every service is up or degraded.`,
		Example: `  sereno status
  sereno status --watch
  sereno status --check && echo every service serves
  sereno status --json | jq '.services[] | {name, state, reason}'`,
		Args: NoArguments,
	}
	socket := socketFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the API's answer")
	cmd.Flags().BoolVar(&check, "check", false, "exit with 1 unless every service is up or degraded")
	cmd.Flags().BoolVar(&watch, "watch", false, "refresh until interrupted")
	cmd.MarkFlagsMutuallyExclusive("json", "watch")
	cmd.MarkFlagsMutuallyExclusive("check", "watch")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		where, err := socket()
		if err != nil {
			return err
		}
		node := newClient(where)
		if watch {
			ticker := time.NewTicker(watchInterval)
			defer ticker.Stop()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, unix.SIGTERM)
			defer stop()
			return watchStatus(ctx, node, cmd.OutOrStdout(), ticker.C)
		}
		status, body, err := node.status(cmd.Context())
		if err != nil {
			return err
		}
		result := statusText(status, time.Now())
		if asJSON {
			result = string(body)
		}
		if err := show(cmd, result); err != nil {
			return err
		}
		if check {
			return serves(status)
		}
		return nil
	}
	return cmd
}

// serves is an error unless every service is up or degraded.
func serves(status admin.Status) error {
	var bad []string
	for _, s := range status.Services {
		if s.State != admin.StateUp && s.State != admin.StateDegraded {
			bad = append(bad, strings.TrimSuffix(fmt.Sprintf("service %s is %s: %s", s.Name, s.State, s.Reason), ": "))
		}
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "\n"))
	}
	return nil
}

// watchStatus prints the status now and at each tick, until ctx ends. A node that does not
// answer is said and asked again: it may be restarting.
func watchStatus(ctx context.Context, node *client, out io.Writer, tick <-chan time.Time) error {
	before := ""
	if terminal(out) {
		before = "\x1b[H\x1b[2J\x1b[3J" // to the corner, and clear
	}
	for {
		status, _, err := node.status(ctx)
		if ctx.Err() != nil {
			return nil
		}
		now := time.Now()
		page := fmt.Sprintf("%s%s, every %s, Ctrl-C ends\n\n", before, utc(now), watchInterval)
		if err != nil {
			page += cleanLines(err.Error()) + "\n"
		} else {
			page += statusText(status, now)
		}
		if _, err := io.WriteString(out, page+"\n"); err != nil {
			return fmt.Errorf("writing the result: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
	}
}
