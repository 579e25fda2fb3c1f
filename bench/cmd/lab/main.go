// Lab plays what can go wrong at a small provider, with real programs in
// network namespaces, and holds what happens to its bounds.
//
//	lab list
//	lab run node-killed
//	lab run --short all
//
// It exits 0 when every bound held, 1 when not, 2 when the command line is
// wrong. It needs root, and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sereno/bench/lab"
)

// busyCode is the exit code of the process inside for lab.ErrBusy, and tries how often a scenario is played at most then.
const (
	busyCode = 3
	tries    = 3
)

// errBroken says that a bound was broken; the table has told which.
var errBroken = errors.New("not every bound held")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ran := false
	root := &cobra.Command{
		Use: "lab", Short: "Play what can go wrong at a small provider, and measure it",
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRun: func(*cobra.Command, []string) { ran = true },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(listCommand(), runCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "lab:", err)
	if errors.Is(err, lab.ErrBusy) {
		return busyCode
	}
	if ran {
		return 1
	}
	return 2
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Name the scenarios", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			for _, s := range lab.Scenarios() {
				fmt.Fprintf(cmd.OutOrStdout(), "%-22s %s\n", s.Name, s.Says)
			}
		},
	}
}

func runCommand() *cobra.Command {
	var o lab.Options
	cmd := &cobra.Command{
		Use: "run SCENARIO...", Short: "Build the laboratory, play the scenarios one after the other, print their tables", Args: cobra.MinimumNArgs(1),
		Example: "  lab run node-killed\n  lab run --short all",
		RunE: func(cmd *cobra.Command, names []string) error {
			o.Out = cmd.OutOrStdout()
			scenarios, err := choose(names)
			if err != nil {
				return err
			}
			if lab.Inside() {
				return inside(cmd.Context(), scenarios[0], o)
			}
			return outside(cmd, scenarios, o)
		},
	}
	cmd.Flags().BoolVar(&o.Short, "short", false, "announce_after 1 s and more frequent probes, instead of the defaults")
	cmd.Flags().StringVar(&o.Sereno, "sereno", "", "the node's binary (default: built from this module)")
	return cmd
}

func choose(names []string) ([]lab.Scenario, error) {
	if len(names) == 1 && names[0] == "all" {
		return lab.Scenarios(), nil
	}
	var chosen []lab.Scenario
	for _, name := range names {
		s, ok := lab.Find(name)
		if !ok {
			return nil, fmt.Errorf("no scenario %q; `lab list` names them", name)
		}
		chosen = append(chosen, s)
	}
	return chosen, nil
}

// inside plays one scenario, in the namespaces that outside has made.
func inside(ctx context.Context, s lab.Scenario, o lab.Options) error {
	held, err := lab.Play(ctx, s, o)
	if err == nil && !held {
		err = errBroken
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", s.Name, err)
	}
	return err
}

// outside builds the node once, and plays each scenario in a process and namespaces of its own.
func outside(cmd *cobra.Command, scenarios []lab.Scenario, o lab.Options) error {
	binary, done, err := lab.Binary(cmd.Context(), o.Sereno)
	if err != nil {
		return err
	}
	defer done()
	broken := false
	for _, s := range scenarios {
		args := []string{"run", s.Name, "--sereno", binary, fmt.Sprintf("--short=%v", o.Short)}
		code, replays := busyCode, 0
		for try := 0; try < tries && code == busyCode; try++ {
			replays = try
			var err error
			code, err = lab.Enter(cmd.Context(), args, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err := errors.Join(err, cmd.Context().Err()); err != nil {
				return err
			}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "  %-44s %-5s %d (at most %d)\n", "played again, the machine being too busy", "lab", replays, tries-1)
		broken = broken || code != 0
	}
	if broken {
		return errBroken
	}
	return nil
}
