// Command sereno stands in front of an internet provider's DNS resolvers and
// RADIUS servers. This file is the command tree and nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

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

// The hidden commands: the processes that this binary starts of itself.
const (
	speakerCommand = "bgp-speaker"
	routerCommand  = "bgp-router"
)

func main() {
	build := admin.ReadBuild(version, commit, date)
	root := cli.Root(build, run(build), demo.Command(routerCommand), bgpSpeaker(), bgpRouter())
	os.Exit(cli.Execute(context.Background(), root, os.Args[1:], os.Stdout, os.Stderr))
}

func run(build admin.Build) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a node until SIGTERM",
		Long: `Runs a node. Logs go to stderr. SIGHUP reloads the configuration. SIGTERM takes the
routes away first, answers until routers have followed, and ends; a second one ends at once.`,
		Example: "  sereno run -c /etc/sereno/sereno.yaml",
		Args:    cobra.NoArgs,
	}
	path := cli.ConfigFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		err := app.Run(app.Options{Path: path(), Build: build, Speaker: bgp.SelfCommand(speakerCommand)}, cmd.ErrOrStderr())
		var wrong *config.Error
		if errors.As(err, &wrong) {
			fmt.Fprintln(cmd.ErrOrStderr(), wrong)
			return cli.Exit(cli.Usage, nil)
		}
		return err
	}
	return cmd
}

func bgpSpeaker() *cobra.Command {
	return &cobra.Command{
		Use: speakerCommand, Hidden: true, Args: cobra.NoArgs,
		Short:   "Speak BGP with one neighbor for the node that started this process",
		Example: "  (started by `sereno run`, one for each neighbor)",
		Run:     func(*cobra.Command, []string) { os.Exit(speaker.Main(os.Stdin, os.Stderr)) },
	}
}

func bgpRouter() *cobra.Command {
	var c speaker.RouterConfig
	var listen string
	cmd := &cobra.Command{
		Use: routerCommand, Hidden: true, Args: cobra.NoArgs,
		Short:   "Be the BGP router of the demo",
		Example: "  (started by `sereno demo`)",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if c.Listen, err = netip.ParseAddrPort(listen); err != nil {
				return cli.Exit(cli.Usage, err)
			}
			return speaker.RunRouter(cmd.Context(), c, os.Stdin, cmd.OutOrStdout())
		},
	}
	cmd.Flags().Uint32Var(&c.ASN, "asn", 64500, "the router's AS number")
	cmd.Flags().Uint32Var(&c.PeerASN, "peer-asn", 64512, "the AS number of who connects")
	cmd.Flags().StringVar(&c.RouterID, "router-id", "127.0.0.1", "router identifier, an IPv4 address")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "`ADDRESS:PORT`; port 0: a free one")
	return cmd
}
