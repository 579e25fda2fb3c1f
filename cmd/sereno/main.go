// Command sereno stands in front of an internet provider's DNS resolvers and
// RADIUS servers. This file is the command tree and nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"sereno/bgp"
	"sereno/bgp/speaker"
	"sereno/cmd/sereno/internal/admin"
	"sereno/cmd/sereno/internal/app"
	"sereno/cmd/sereno/internal/cli"
	"sereno/cmd/sereno/internal/demo"
	"sereno/config"
)

// Set by the linker (-ldflags "-X main.version=…"); what is empty is read from
// the build's own notes.
var version, commit, date string

// speakerCommand is hidden: the processes that `sereno run` starts of its own
// binary, one for each neighbor.
const speakerCommand = "bgp-speaker"

func main() {
	os.Exit(cli.Execute(context.Background(), tree(admin.ReadBuild(version, commit, date)), os.Args[1:], os.Stdout, os.Stderr))
}

// tree is every command.
func tree(build admin.Build) *cobra.Command {
	return cli.Root(build, run(build), cli.SpoolCommand(spoolFiles), demo.Command(), bgpSpeaker(), demo.RouterCommand())
}

func run(build admin.Build) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a node until SIGTERM",
		Long: `Runs a node. Logs go to stderr. SIGHUP reloads the configuration. SIGTERM takes the
routes away first, answers until routers have followed, and ends; a second one ends at once.`,
		Example: "  sereno run -c /etc/sereno/sereno.yaml",
		Args:    cli.NoArguments,
	}
	path := cli.ConfigFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		err := app.Run(app.Options{Path: path(), Build: build, Speaker: bgp.SelfCommand(speakerCommand), Confine: true, Cores: runtime.GOMAXPROCS(0)}, cmd.ErrOrStderr())
		var wrong *config.Error
		if errors.As(err, &wrong) {
			fmt.Fprintln(cmd.ErrOrStderr(), wrong)
			return cli.Exit(cli.Usage, nil)
		}
		return err
	}
	return cmd
}

func spoolFiles(dir string) (cli.SpoolFiles, []string, bool, error) {
	return app.OpenSpoolDirectory(dir)
}

func bgpSpeaker() *cobra.Command {
	return &cobra.Command{
		Use: speakerCommand, Hidden: true, Args: cobra.NoArgs,
		Short:   "Speak BGP with one neighbor for the node that started this process",
		Example: "  (started by `sereno run`, one for each neighbor)",
		Run:     func(*cobra.Command, []string) { os.Exit(speaker.Main(os.Stdin, os.Stderr)) },
	}
}
