package demo

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sereno/bgp/speaker"
)

// Command is `sereno demo`.
func Command() *cobra.Command {
	once := false
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "The whole system from this one binary, and the story of an outage",
		Long: `demo starts two sites with simulated resolvers and RADIUS servers, a BGP router and clients,
lets backends die one by one, and tells what the clients notice. It needs no root, no file and
no network. After the story it goes on, and backends can be broken and healed by hand.`,
		Example: "  sereno demo\n  sereno demo --once     # only the story; exit code 0 only if nothing was lost",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // a second Ctrl-C ends it the hard way
			return Run(ctx, Options{Once: once, In: cmd.InOrStdin(), Out: cmd.OutOrStdout()})
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end after the story")
	return cmd
}

// RouterCommand is the hidden `sereno bgp-router`: the demo's router, which the demo starts as a process of its own.
// It ends when its standard input does.
func RouterCommand() *cobra.Command {
	var c speaker.RouterConfig
	var listen string
	cmd := &cobra.Command{
		Use: "bgp-router", Short: "The demo's BGP router", Hidden: true, Args: cobra.NoArgs,
		Example: "  sereno bgp-router --listen 127.0.0.1:1179 --asn 64500 --router-id 10.255.0.2 --peer-asn 64512",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if c.Listen, err = netip.ParseAddrPort(listen); err != nil {
				return fmt.Errorf("--listen: %w", err)
			}
			return speaker.RunRouter(cmd.Context(), c, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:0", "where sessions are accepted")
	f.Uint32Var(&c.ASN, "asn", routerASN, "its autonomous system")
	f.StringVar(&c.RouterID, "router-id", routerID, "its BGP identifier")
	f.Uint32Var(&c.PeerASN, "peer-asn", nodeASN, "autonomous system of those who connect")
	return cmd
}
