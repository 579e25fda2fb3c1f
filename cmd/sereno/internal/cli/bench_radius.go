package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sereno/bench/capacity"
	"sereno/bench/load"
)

// benchSecretVariable is the environment's variable with the RADIUS secret.
const benchSecretVariable = "SERENO_BENCH_SECRET"

func benchRADIUS() *cobra.Command {
	f := benchFlags{insecure: []string{"secret"}, highest: 100_000, searchP99: 200 * time.Millisecond}
	var c load.RADIUSConfig
	var auth, acct, secret, secretFile, users string
	var simulated bool
	cmd := &cobra.Command{
		Use:   "radius",
		Short: "RADIUS load: logins and accounting, at a fixed rate, along a ramp, or searching the knee",
		Long: `Logs subscribers in, with PAP, CHAP and MS-CHAPv2, accounts their sessions (a Start, --interims
Interim-Updates and a Stop each, with session IDs that are numbered), checks every reply
(identifier, both authenticators, and what it says), and says at which rate loss and latency stay
within bounds. Retransmissions (--resend) are the same octets again, as a NAS sends them.

The subscribers are those of --users: a name, a password and, if the server must refuse them, the
word reject on each line. With --simulated the servers are those of the demo or of
` + "`sereno bench stub`" + `, which know every subscriber.

The secret is taken from --secret-file, --secret or $` + benchSecretVariable + `, and shown nowhere.`,
		Example: `  sereno bench radius --auth 127.0.0.1:1812 --secret-file secret --users users.txt --rate 2000
  sereno bench radius --auth 127.0.0.1:1812 --secret-file secret --users users.txt --search --html report.html
  sereno bench radius --acct 127.0.0.1:1813 --secret-file secret --users users.txt --mschap 1 --accounting 3`,
		Args: cobra.NoArgs,
	}
	s := pflag.NewFlagSet("What is asked", pflag.ContinueOnError)
	s.SortFlags = false
	s.StringVar(&auth, "auth", "127.0.0.1:1812", "`ADDRESS:PORT` for authentication")
	s.StringVar(&acct, "acct", "", "`ADDRESS:PORT` for accounting")
	s.StringVar(&secretFile, "secret-file", "", "`FILE` with the NAS's secret")
	s.StringVar(&secret, "secret", "", "the NAS's `SECRET` (other users of this host can see it)")
	s.StringVar(&users, "users", "", "`FILE` of subscribers: a name and a password on each line")
	s.IntVar(&c.Users, "simulated-users", 1000, "how `MANY` subscribers, with --simulated")
	s.IntVar(&c.PAP, "pap", 1, "`PARTS` of the mix that are PAP logins")
	s.IntVar(&c.CHAP, "chap", 0, "`PARTS` that are CHAP logins")
	s.IntVar(&c.MSCHAP, "mschap", 0, "`PARTS` that are MS-CHAPv2 logins")
	s.IntVar(&c.Acct, "accounting", 0, "`PARTS` that are accounting records")
	s.IntVar(&c.Interims, "interims", 1, "`INTERIM-UPDATES` of a session (below 0: none)")
	s.IntVar(&c.Reject, "reject", 0, "every `NTH` login is one that must be rejected, with --simulated (0: none)")
	s.BoolVar(&c.Lax, "no-message-authenticator", false, "replies need no Message-Authenticator (servers from before 2024)")
	s.StringVar(&c.NAS, "nas-identifier", "load", "`NAME` of the NAS in the requests")
	s.BoolVar(&simulated, "simulated", false, "behind the target are simulated servers")
	f.add(cmd, s)
	cmd.MarkFlagsMutuallyExclusive("secret", "secret-file")
	cmd.MarkFlagsMutuallyExclusive("users", "simulated")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.finish(cmd); err != nil {
			return Exit(Usage, err)
		}
		c.Common, c.Real = f.common, !simulated
		var t load.RADIUSTarget
		var err error
		if t.Auth, err = benchAddr("auth", auth); err != nil {
			return err
		}
		if t.Acct, err = benchAddr("acct", acct); err != nil {
			return err
		}
		c.Targets = []load.RADIUSTarget{t}
		if c.Secret, err = benchSecret(secret, secretFile); err != nil {
			return Exit(Usage, err)
		}
		if users == "" && !simulated {
			return Exit(Usage, errors.New("whose logins? --users FILE, or --simulated"))
		}
		if c.List, err = benchList("users", users, load.ReadSubscribers); err != nil {
			return err
		}
		r, err := load.NewRADIUS(c)
		if err != nil {
			return openingError(err)
		}
		target := t.Auth.String()
		if t.Acct.IsValid() {
			target += " and " + t.Acct.String()
		}
		return f.run(cmd, r, capacity.Report{Title: "RADIUS capacity", Target: target, Settings: radiusSettings(&c, r)})
	}
	return cmd
}

func benchSecret(secret, file string) ([]byte, error) {
	switch {
	case file != "":
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--secret-file: %w", err)
		}
		return bytes.TrimRight(b, "\r\n"), nil
	case secret != "":
		return []byte(secret), nil
	}
	if s := os.Getenv(benchSecretVariable); s != "" {
		return []byte(s), nil
	}
	return nil, fmt.Errorf("no secret: --secret-file, --secret or $%s", benchSecretVariable)
}

// radiusSettings is what is sent, in words.
func radiusSettings(c *load.RADIUSConfig, r *load.RADIUS) []capacity.Setting {
	users := fmt.Sprintf("%d simulated", c.Users)
	if len(c.List) > 0 {
		users = fmt.Sprintf("%d of a list", len(c.List))
	}
	s := []capacity.Setting{
		{Name: "subscribers", Value: users},
		{Name: "mix", Value: fmt.Sprintf("PAP %d, CHAP %d, MS-CHAPv2 %d, accounting %d", c.PAP, c.CHAP, c.MSCHAP, c.Acct)},
	}
	if c.Acct > 0 {
		s = append(s, capacity.Setting{Name: "sessions", Value: fmt.Sprintf("%s, %d records each", r.Sessions(), 2+max(c.Interims, 0))})
	}
	return s
}
