package cli

import (
	"github.com/spf13/cobra"

	"sereno/config"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration, for editors",
		Long: `Prints the JSON Schema of the configuration, with which an editor completes keys, shows
what they mean and marks what is wrong while it is typed. It is made of what this very
program reads. An editor with the YAML language server takes it from the file's first line:

  # yaml-language-server: $schema=sereno.schema.json`,
		Example: "  sereno schema > sereno.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := config.Schema()
			if err != nil {
				return err
			}
			return show(cmd, string(text))
		},
	}
}
