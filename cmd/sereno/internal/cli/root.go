package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sereno/cmd/sereno/internal/admin"
)

// Exit codes.
const (
	Done   = 0
	Failed = 1
	Usage  = 2 // wrong usage or configuration
)

// exitError is an error with its exit code.
type exitError struct {
	code int
	err  error
}

// Exit is an error that ends the program with code. What err says goes to stderr; nil says
// nothing, because everything was said already. A command that returns any other error
// ends with Failed.
func Exit(code int, err error) error { return &exitError{code, err} }

// Error says what went wrong.
func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap is the error that is said.
func (e *exitError) Unwrap() error { return e.err }

// Root is the whole command tree: the commands of this package and more.
func Root(build admin.Build, more ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:   "sereno",
		Short: "DNS and RADIUS in front of redundant backends, announced by BGP while it can serve",
		Long: `sereno stands in front of resolvers and RADIUS servers: it answers DNS from its cache,
spreads both over redundant backends, hides their failures, and announces its anycast
addresses by BGP only while it can serve.

Exit codes: 0 done, 1 failed (also: no node answers), 2 wrong usage or configuration.`,
		Example: `  sereno demo                      # the whole system, from this one binary
  sereno check -c sereno.yaml      # every mistake at once
  sereno run -c sereno.yaml
  sereno status`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			return Exit(Usage, errors.New("which command? `sereno --help` lists them"))
		},
	}
	root.AddCommand(checkCommand(), statusCommand(), drainCommand(), undrainCommand(), reloadCommand(),
		flushCommand(), forgetCommand(), explainCommand(), availabilityCommand(), topCommand(), traceCommand(), schemaCommand(), benchCommand(), versionCommand(build))
	root.AddCommand(more...)
	return root
}

// Execute runs the command that args name and returns the exit code.
func Execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	markFailures(root)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return Done
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		// The command did not begin: cobra did not understand the arguments.
		_, _ = fmt.Fprintf(stderr, "%s: %s\n`%s --help` has an example\n", command.CommandPath(), clean(err.Error()), command.CommandPath())
		return Usage
	}
	if exit.err != nil {
		_, _ = fmt.Fprintf(stderr, "%s: %s\n", command.CommandPath(), cleanLines(exit.err.Error()))
	}
	return exit.code
}

// markFailures tells the errors of commands from those of cobra, which come before a
// command begins and are wrong usage.
func markFailures(command *cobra.Command) {
	if run := command.RunE; run != nil {
		command.RunE = func(c *cobra.Command, args []string) error {
			err := run(c, args)
			var exit *exitError
			if err == nil || errors.As(err, &exit) {
				return err
			}
			return Exit(Failed, err)
		}
	}
	for _, child := range command.Commands() {
		markFailures(child)
	}
}

// NoArguments is for commands that take none. Whoever gives the configuration as one is
// told of -c.
func NoArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("it takes no arguments, and %q is one", args[0])
	if cmd.Flags().Lookup("config") != nil {
		message += "; a configuration is named with -c FILE"
	}
	return errors.New(message)
}
