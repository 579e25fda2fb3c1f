// Loadgen asks a DNS or RADIUS server of this host at a fixed rate, checks
// every answer, and prints the books.
//
//	loadgen dns --target 127.0.0.1:5353 --rate 50000 --for 5s --names 1000
//	loadgen radius --auth 127.0.0.1:1812 --acct 127.0.0.1:1813 --secret s --rate 2000 --for 5s
//	loadgen stub --dns 127.0.0.1:5301 --auth 127.0.0.1:1912 --acct 127.0.0.1:1913 --secret s
//
// The servers behind what it asks must answer as package stub says: `loadgen
// stub` is such a server. It exits 0 when every request was answered rightly,
// 1 when not, 2 when the command line is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sereno/bench/load"
	"sereno/bench/stub"
)

// errNotClean says that something was lost or wrong; the books have told it.
var errNotClean = errors.New("not every request was answered rightly")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ran := false
	root := &cobra.Command{
		Use: "loadgen", Short: "Ask a server of this host at a fixed rate and check every answer",
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRun: func(*cobra.Command, []string) { ran = true },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(dnsCommand(), radiusCommand(), stubCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "loadgen:", err)
	if ran {
		return 1
	}
	return 2
}

// commonFlags are those of both protocols.
func commonFlags(cmd *cobra.Command, c *load.Common, length *time.Duration) {
	f := cmd.Flags()
	f.Float64Var(&c.Rate, "rate", 1000, "requests a second")
	f.DurationVar(length, "for", 5*time.Second, "how long")
	f.Uint64Var(&c.Limit, "limit", 0, "requests in all (0: as long as --for)")
	f.DurationVar(&c.Timeout, "timeout", 0, "without a right answer by then a request is lost (default 3s, RADIUS 10s)")
	f.DurationVar(&c.Resend, "resend", 0, "send again what is unanswered after each such time (0: never)")
	f.IntVar(&c.Tries, "tries", 3, "how often a request is sent in all, with --resend")
	f.IntVar(&c.Sockets, "sockets", 0, "source ports (default 32, RADIUS as the rate needs)")
	f.IntVar(&c.Window, "window", 0, "closed loop: as many requests wait at a time (0: open loop)")
	f.IntVar(&c.Workers, "workers", 1, "threads that send")
	f.BoolVar(&c.NoCut, "no-offload", false, "neither UDP_SEGMENT nor UDP_GRO")
	f.BoolVar(&c.Plain, "plain", false, "one system call for each datagram")
}

func dnsCommand() *cobra.Command {
	var c load.DNSConfig
	var target, types string
	var length time.Duration
	cmd := &cobra.Command{
		Use: "dns", Short: "DNS over UDP", Args: cobra.NoArgs,
		Example: "  loadgen dns --target 127.0.0.1:5353 --rate 50000 --for 5s --names 1000 --zipf 1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			addr, err := netip.ParseAddrPort(target)
			if err != nil {
				return fmt.Errorf("--target: %w", err)
			}
			c.Targets = []netip.AddrPort{addr}
			if c.Types, err = parseTypes(types); err != nil {
				return err
			}
			d, err := load.NewDNS(c)
			if err != nil {
				return err
			}
			return report(cmd, length, d.Run)
		},
	}
	commonFlags(cmd, &c.Common, &length)
	f := cmd.Flags()
	f.StringVar(&target, "target", "127.0.0.1:53", "server, of this host")
	f.IntVar(&c.Names, "names", 0, "different names (0: every name is new)")
	f.Float64Var(&c.Zipf, "zipf", 0, "exponent of the names' popularity by rank (0: all the same)")
	f.Float64Var(&c.New, "new", 0, "share (0..1) of queries for names never asked before, with --names")
	f.StringVar(&c.Labels, "labels", "", "labels that say what the answer is, e.g. ttl-60.count-3")
	f.StringVar(&c.Suffix, "suffix", "", "what every name ends in (default load.test.)")
	f.StringVar(&types, "types", "A", "types to ask for: A, AAAA, TXT")
	f.BoolVar(&c.NoEDNS, "no-edns", false, "queries without OPT")
	return cmd
}

func parseTypes(list string) ([]uint16, error) {
	known := map[string]uint16{"A": stub.TypeA, "AAAA": stub.TypeAAAA, "TXT": stub.TypeTXT}
	var types []uint16
	for name := range strings.SplitSeq(list, ",") {
		t, ok := known[strings.ToUpper(strings.TrimSpace(name))]
		if !ok {
			return nil, fmt.Errorf("--types: %q is not one of A, AAAA, TXT", name)
		}
		types = append(types, t)
	}
	return types, nil
}

func radiusCommand() *cobra.Command {
	var c load.RADIUSConfig
	var auth, acct, secret string
	var length time.Duration
	cmd := &cobra.Command{
		Use: "radius", Short: "RADIUS over UDP: PAP, CHAP and accounting", Args: cobra.NoArgs,
		Example: "  loadgen radius --auth 127.0.0.1:1812 --acct 127.0.0.1:1813 --secret s --rate 2000 --pap 1 --chap 1 --accounting 2",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var t load.RADIUSTarget
			var err error
			if t.Auth, err = netip.ParseAddrPort(auth); err != nil {
				return fmt.Errorf("--auth: %w", err)
			}
			if acct != "" {
				if t.Acct, err = netip.ParseAddrPort(acct); err != nil {
					return fmt.Errorf("--acct: %w", err)
				}
			}
			c.Targets, c.Secret = []load.RADIUSTarget{t}, []byte(secret)
			r, err := load.NewRADIUS(c)
			if err != nil {
				return err
			}
			return report(cmd, length, r.Run)
		},
	}
	commonFlags(cmd, &c.Common, &length)
	f := cmd.Flags()
	f.StringVar(&auth, "auth", "127.0.0.1:1812", "authentication port, of this host")
	f.StringVar(&acct, "acct", "", "accounting port, of this host")
	f.StringVar(&secret, "secret", "", "the NAS's secret")
	f.IntVar(&c.PAP, "pap", 1, "parts of the mix that are PAP logins")
	f.IntVar(&c.CHAP, "chap", 1, "parts of the mix that are CHAP logins")
	f.IntVar(&c.Acct, "accounting", 0, "parts of the mix that are accounting records")
	f.IntVar(&c.Users, "users", 1000, "different subscribers")
	f.IntVar(&c.Reject, "reject", 0, "every such login is one that must be rejected (0: none)")
	f.BoolVar(&c.Lax, "lax", false, "replies need no Message-Authenticator")
	return cmd
}

// report runs a generator and prints its books.
func report(cmd *cobra.Command, length time.Duration, run func(context.Context) (load.Books, error)) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), length)
	defer cancel()
	books, err := run(ctx)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if err := books.Table(out); err != nil {
		return err
	}
	for _, why := range books.Faulty {
		fmt.Fprintln(out, "  ", why)
	}
	if !books.Clean() {
		return errNotClean
	}
	return nil
}

func stubCommand() *cobra.Command {
	var dnsAddr, auth, acct, secret string
	cmd := &cobra.Command{
		Use: "stub", Short: "Be the simulated DNS resolver and RADIUS server, until interrupted", Args: cobra.NoArgs,
		Example: "  loadgen stub --dns 127.0.0.1:5301 --auth 127.0.0.1:1912 --acct 127.0.0.1:1913 --secret s",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serveStub(cmd, dnsAddr, auth, acct, secret)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dnsAddr, "dns", "", "where to answer DNS, UDP and TCP")
	f.StringVar(&auth, "auth", "", "where to answer RADIUS authentication (with --acct)")
	f.StringVar(&acct, "acct", "", "where to answer RADIUS accounting (with --auth)")
	f.StringVar(&secret, "secret", "", "the RADIUS client's secret")
	return cmd
}

func serveStub(cmd *cobra.Command, dnsAddr, auth, acct, secret string) error {
	out := cmd.OutOrStdout()
	if dnsAddr == "" && auth == "" {
		return errors.New("nothing to serve: --dns, or --auth and --acct")
	}
	if dnsAddr != "" {
		addr, err := netip.ParseAddrPort(dnsAddr)
		if err != nil {
			return fmt.Errorf("--dns: %w", err)
		}
		r, err := stub.NewResolver(stub.ResolverConfig{Addr: addr})
		if err != nil {
			return err
		}
		defer func() { fmt.Fprintf(out, "dns     %+v\n", r.Stats()); _ = r.Close() }()
		fmt.Fprintln(out, "dns     on", r.Addr())
	}
	if auth != "" {
		a, err := netip.ParseAddrPort(auth)
		if err != nil {
			return fmt.Errorf("--auth: %w", err)
		}
		b, err := netip.ParseAddrPort(acct)
		if err != nil {
			return fmt.Errorf("--acct: %w", err)
		}
		s, err := stub.NewRADIUS(stub.RADIUSConfig{Name: "stub", Auth: a, Acct: b, Secret: []byte(secret)})
		if err != nil {
			return err
		}
		defer func() { fmt.Fprintf(out, "radius  %+v\n", s.Stats()); _ = s.Close() }()
		fmt.Fprintln(out, "radius  on", s.Addr(stub.Auth), "and", s.Addr(stub.Acct))
	}
	<-cmd.Context().Done()
	return nil
}
