package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"sereno/cmd/sereno/internal/admin"
)

func versionCommand(build admin.Build) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print which program this is",
		Example: "  sereno version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, build.String()+"\n")
		},
	}
}

// show writes a result to stdout. That it could not be written is a failure: whoever
// asked has not got it.
func show(cmd *cobra.Command, result string) error {
	if _, err := fmt.Fprint(cmd.OutOrStdout(), result); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// note writes something that is no result to stderr, line by line.
func note(cmd *cobra.Command, text string) {
	_, _ = fmt.Fprintln(cmd.ErrOrStderr(), cleanLines(text)) // there is nowhere else to tell it
}
