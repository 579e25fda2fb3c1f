package cli

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sereno/bench/capacity"
	"sereno/bench/load"
)

func benchDNS() *cobra.Command {
	f := benchFlags{highest: 1e6, searchP99: 50 * time.Millisecond}
	var c load.DNSConfig
	var target, list, types, transport, serverName string
	var simulated bool
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "DNS load: over UDP, TCP or TLS, at a fixed rate, along a ramp, or searching the knee",
		Long: `Asks a DNS server, checks every answer, and says at which rate loss and latency stay within
bounds. Checked are ID, question, rcode (NOERROR or NXDOMAIN), and what a list of names says. A
list has a name on each line, a type, and if wanted an rcode (or -) and the data of one of the
records:

  www.example.net  A     NOERROR  192.0.2.7
  nosuch.example   AAAA  NXDOMAIN

Without a list the names are made up under --suffix: --names of them, asked again and again (all
the same, or by Zipf's law), and a share --new that never comes twice and that no cache has. With
--simulated the resolvers are those of the demo or of ` + "`sereno bench stub`" + `: then every record and
every TTL is checked.`,
		Example: `  sereno bench dns --target 127.0.0.1:53 --list names.txt --zipf 1 --rate 20000 --for 30s
  sereno bench dns --target 127.0.0.1:53 --names 100000 --zipf 1 --new 0.2 --search --html report.html
  sereno bench dns --target 192.0.2.53:853 --transport tls --allow-remote --ramp 1000:20000`,
		Args: cobra.NoArgs,
	}
	s := pflag.NewFlagSet("What is asked", pflag.ContinueOnError)
	s.SortFlags = false
	s.StringVar(&target, "target", "127.0.0.1:53", "the server's `ADDRESS:PORT`")
	s.StringVar(&transport, "transport", "udp", "`PROTOCOL`: udp, tcp or tls")
	s.StringVar(&serverName, "tls-name", "", "`NAME` of the server's certificate (default: not verified)")
	s.StringVar(&list, "list", "", "`FILE` of names, the most popular first")
	s.IntVar(&c.Names, "names", 1000, "how `MANY` names, without a list (0: every name is new)")
	s.Float64Var(&c.Zipf, "zipf", 0, "`EXPONENT` of Zipf's law, by the order in the list (0: all equally often)")
	s.Float64Var(&c.New, "new", 0, "`SHARE` (0 to 1) of queries for names that never come twice")
	s.StringVar(&types, "types", "A", "`TYPES` of the queries for made up names, e.g. A,AAAA,HTTPS")
	s.StringVar(&c.Suffix, "suffix", "load.test.", "`DOMAIN` that made up names end in")
	s.BoolVar(&c.DO, "do", false, "ask for DNSSEC records")
	s.BoolVar(&c.NoEDNS, "no-edns", false, "queries without OPT")
	s.Uint16Var(&c.UDPSize, "udp-size", 1232, "`OCTETS` of UDP that the OPT allows")
	s.BoolVar(&simulated, "simulated", false, "behind the target are simulated resolvers: check every record and TTL")
	s.StringVar(&c.Labels, "labels", "", "`LABELS` before the suffix that simulated resolvers obey, e.g. ttl-60")
	f.add(cmd, s)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		addr, err := benchAddr("target", target)
		if err != nil {
			return err
		}
		if err := f.finish(cmd); err != nil {
			return Exit(Usage, err)
		}
		c.Common, c.Targets, c.Real = f.common, []netip.AddrPort{addr}, !simulated
		switch transport {
		case "udp":
		case "tcp":
			c.Transport = load.TCP
		case "tls":
			c.Transport = load.TLS
			if serverName != "" {
				c.TLS = &tls.Config{ServerName: serverName, MinVersion: tls.VersionTLS12}
			}
		default:
			return Exit(Usage, fmt.Errorf("--transport: %q is none of udp, tcp, tls", transport))
		}
		for name := range strings.SplitSeq(types, ",") {
			t, ok := dns.StringToType[strings.ToUpper(strings.TrimSpace(name))]
			if !ok {
				return Exit(Usage, fmt.Errorf("--types: %q is no type of record", name))
			}
			c.Types = append(c.Types, t)
		}
		if c.List, err = benchList("list", list, load.ReadQuestions); err != nil {
			return err
		}
		d, err := load.NewDNS(c)
		if err != nil {
			return openingError(err)
		}
		return f.run(cmd, d, capacity.Report{
			Title: "DNS capacity", Target: fmt.Sprintf("%s (%s)", addr, transport), Settings: dnsSettings(&c, list, types),
		})
	}
	return cmd
}

// dnsSettings is what is asked, in words.
func dnsSettings(c *load.DNSConfig, list, types string) []capacity.Setting {
	names := fmt.Sprintf("%d made up, of %s", c.Names, types)
	switch {
	case list != "":
		names = fmt.Sprintf("%d of a list", len(c.List))
	case c.Names == 0:
		names = "each one new, of " + types
	}
	if c.Zipf > 0 {
		names += fmt.Sprintf(", Zipf %g", c.Zipf)
	}
	if c.New > 0 {
		names += fmt.Sprintf(", %g %% never repeated", 100*c.New)
	}
	checked := "ID, question, rcode"
	if !c.Real {
		checked = "every record and TTL"
	} else if list != "" {
		checked += ", what the list says"
	}
	return []capacity.Setting{{Name: "names", Value: names}, {Name: "checked", Value: checked}}
}
