// Soak lets everything that can go wrong at a small provider go wrong, at
// random, for as long as it is told, and compares the books of the clients and
// of the backends at the end.
//
//	soak --for 30m
//	soak --for 30m --seed 42 --rate-dns 2000 --rate-radius 200 --keep /var/tmp/soak
//
// Two sites of real programs in network namespaces (package bench/lab) are asked
// over UDP, TCP, TLS and HTTPS, log subscribers in, and account sessions.
// Meanwhile backends, nodes and speakers are killed, frozen, stopped and started,
// links are cut or silent, disks full, nodes drained, their clocks set, and their
// configurations replaced by good and by broken ones. What happens, in which
// order and for how long, follows from the seed.
//
// What must hold: every query is answered and every login decided rightly,
// without asking twice except where the event lets packets be lost or the
// answer be SERVFAIL; every accounting record that was acknowledged is in a
// server's books, in order for each session; the counters of each scrape
// balance; everything is well again after each event; the memory, descriptors
// and goroutines of the node that is never restarted do not grow.
//
// The last line is the verdict. It exits 0 when all held, 1 when not, 2 when the
// command line is wrong. It needs root, and leaves nothing behind but the
// evidence: events, samples and books, in a directory that it names.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sereno/bench/lab"
)

// errBroken says that something did not hold; the verdict has told what.
var errBroken = errors.New("not everything held")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ran := false
	cmd := command(&ran)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case !errors.Is(err, errBroken):
		fmt.Fprintln(stderr, "soak:", err)
	}
	if ran {
		return 1
	}
	return 2
}

func command(ran *bool) *cobra.Command {
	o := lab.SoakOptions{}
	cmd := &cobra.Command{
		Use: "soak", Short: "Break a small provider at random under load, and compare the books", Args: cobra.NoArgs,
		Example:      "  soak --for 30m\n  soak --for 5m --seed 42",
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.For <= 0 || o.RateDNS <= 0 || o.RateRADIUS <= 0 {
				return errors.New("--for, --rate-dns and --rate-radius must be above 0")
			}
			*ran = true
			o.Out = cmd.OutOrStdout()
			if lab.Inside() {
				return inside(cmd.Context(), o)
			}
			return outside(cmd, o)
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	flags := cmd.Flags()
	flags.DurationVar(&o.For, "for", 30*time.Minute, "how long things break")
	flags.Uint64Var(&o.Seed, "seed", 0, "what happens, and for how long, follows from it (default: at random)")
	flags.Float64Var(&o.RateDNS, "rate-dns", 1000, "queries a second, over all transports")
	flags.Float64Var(&o.RateRADIUS, "rate-radius", 100, "RADIUS requests a second: four of ten are logins, the others accounting")
	flags.StringVar(&o.Evidence, "keep", "", "the directory that keeps the evidence (default: a new one in the temporary directory)")
	flags.StringVar(&o.Sereno, "sereno", "", "the node's binary (default: built from this module)")
	return cmd
}

// inside soaks, in the namespaces that outside has made.
func inside(ctx context.Context, o lab.SoakOptions) error {
	held, err := lab.Soak(ctx, o)
	if err == nil && !held {
		err = errBroken
	}
	return err
}

// outside builds the node, makes the directory of the evidence, and starts this program again inside.
func outside(cmd *cobra.Command, o lab.SoakOptions) error {
	binary, done, err := lab.Binary(cmd.Context(), o.Sereno)
	if err != nil {
		return err
	}
	defer done()
	if !cmd.Flags().Changed("seed") {
		o.Seed = uint64(rand.Uint32())
	}
	if o.Evidence, err = directory(o.Evidence); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "soak --for %s --seed %d --rate-dns %g --rate-radius %g\nevidence: %s\n", o.For, o.Seed, o.RateDNS, o.RateRADIUS, o.Evidence)
	code, err := lab.Enter(cmd.Context(), []string{"--sereno", binary, "--keep", o.Evidence, "--for", o.For.String(), "--seed", strconv.FormatUint(o.Seed, 10),
		"--rate-dns", fmt.Sprint(o.RateDNS), "--rate-radius", fmt.Sprint(o.RateRADIUS)}, o.Out, cmd.ErrOrStderr())
	if err == nil && code != 0 {
		err = errBroken
	}
	return errors.Join(err, cmd.Context().Err())
}

// directory makes the one that is given, or a new one.
func directory(given string) (string, error) {
	if given == "" {
		return os.MkdirTemp("", "sereno-soak-")
	}
	path, err := filepath.Abs(given)
	if err != nil {
		return "", err
	}
	return path, os.MkdirAll(path, 0o755)
}
