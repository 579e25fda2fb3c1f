package cli

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sereno/bench/stub"
)

func benchStub() *cobra.Command {
	var dnsAddr, auth, acct, secret, secretFile string
	cmd := &cobra.Command{
		Use:   "stub",
		Short: "Be simulated servers for a measurement, until interrupted",
		Long: `Is a DNS resolver that knows every name and a RADIUS server that knows every subscriber: the
backends of a front that is measured with --simulated. A name's labels say what its answer is
(ttl-60, count-20, size-2000, nx, servfail, …), a subscriber's name what becomes of the login
(reject-…, challenge-…, silent-…).`,
		Example: "  sereno bench stub --dns 127.0.0.1:5301 --auth 127.0.0.1:1912 --acct 127.0.0.1:1913 --secret-file secret",
		Args:    cobra.NoArgs,
	}
	s := cmd.Flags()
	s.StringVar(&dnsAddr, "dns", "", "`ADDRESS:PORT` to answer DNS on, UDP and TCP")
	s.StringVar(&auth, "auth", "", "`ADDRESS:PORT` to answer RADIUS authentication on (with --acct)")
	s.StringVar(&acct, "acct", "", "`ADDRESS:PORT` to answer RADIUS accounting on (with --auth)")
	s.StringVar(&secretFile, "secret-file", "", "`FILE` with the RADIUS client's secret")
	s.StringVar(&secret, "secret", "", "the RADIUS client's secret")
	cmd.MarkFlagsRequiredTogether("auth", "acct")
	cmd.MarkFlagsMutuallyExclusive("secret", "secret-file")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if dnsAddr == "" && auth == "" {
			return Exit(Usage, errors.New("nothing to serve: --dns, or --auth and --acct"))
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		out := cmd.OutOrStdout()
		if dnsAddr != "" {
			addr, err := benchAddr("dns", dnsAddr)
			if err != nil {
				return err
			}
			r, err := stub.NewResolver(stub.ResolverConfig{Addr: addr})
			if err != nil {
				return err
			}
			defer func() { _, _ = fmt.Fprintf(out, "dns     %+v\n", r.Stats()); _ = r.Close() }()
			_, _ = fmt.Fprintln(out, "dns     on", r.Addr())
		}
		if auth != "" {
			a, err1 := benchAddr("auth", auth)
			b, err2 := benchAddr("acct", acct)
			key, err3 := benchSecret(secret, secretFile)
			if err := errors.Join(err1, err2, err3); err != nil {
				return Exit(Usage, err)
			}
			r, err := stub.NewRADIUS(stub.RADIUSConfig{Name: "stub", Auth: a, Acct: b, Secret: key})
			if err != nil {
				return err
			}
			defer func() { _, _ = fmt.Fprintf(out, "radius  %+v\n", r.Stats()); _ = r.Close() }()
			_, _ = fmt.Fprintln(out, "radius  on", r.Addr(stub.Auth), "and", r.Addr(stub.Acct))
		}
		<-ctx.Done()
		return nil
	}
	return cmd
}
