package cli

import (
	"github.com/spf13/cobra"

	"sereno/config"
)

func checkCommand() *cobra.Command {
	var noFiles bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read a configuration and tell every mistake, or what it would run",
		Long: `Reads a configuration and what it includes. It needs no root, no network and no node.

A good one: exit code 0 and a summary of what would run. Otherwise exit code 2 and a line
for each error: FILE:LINE:COLUMN: error: KEY: message. Warnings are lines like them and
change neither.`,
		Example: `  sereno check -c sereno.yaml
  sereno check --no-files -c sereno.yaml   # on a machine without its secrets and certificates`,
		Args: NoArguments,
	}
	path := ConfigFlag(cmd)
	cmd.Flags().BoolVar(&noFiles, "no-files", false, "do not look at the files that the configuration names")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, _, err := LoadConfig(cmd, path(), config.Options{NoFiles: noFiles})
		if err != nil {
			return err
		}
		return show(cmd, cleanLines(loaded.Summary()))
	}
	return cmd
}
