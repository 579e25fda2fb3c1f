package cli

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"sereno/cmd/sereno/internal/admin"
)

func explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Say which rule, cache state, pool and backend a request would meet, and why",
		Long:  "Says what a request would meet, or why a prefix is or is not announced. Nothing is sent.",
		Example: `  sereno explain dns www.example.com AAAA --client 10.1.2.3
  sereno explain radius alice@example.net --nas 10.1.0.1
  sereno explain anycast dns-vip`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return Exit(Usage, fmt.Errorf("explain what? dns, radius or anycast"))
		},
	}
	cmd.AddCommand(explainDNSCommand(), explainRADIUSCommand(), explainAnycastCommand())
	return cmd
}

func explainDNSCommand() *cobra.Command {
	var client string
	cmd := &cobra.Command{
		Use:     "dns NAME [TYPE]",
		Short:   "Say what a DNS query would meet",
		Example: "  sereno explain dns www.example.com AAAA --client 10.1.2.3",
		Args:    cobra.RangeArgs(1, 2),
	}
	explains(cmd, "/api/v1/explain/dns", func(args []string) (url.Values, error) {
		arguments := url.Values{"name": args[:1]}
		if len(args) == 2 {
			arguments["type"] = args[1:]
		}
		return arguments, addAddress(arguments, "client", client)
	})
	cmd.Flags().StringVar(&client, "client", "", "`IP` address of who asks")
	return cmd
}

func explainRADIUSCommand() *cobra.Command {
	var nas string
	cmd := &cobra.Command{
		Use:     "radius USER",
		Short:   "Say what a login would meet",
		Example: "  sereno explain radius alice@example.net --nas 10.1.0.1",
		Args:    cobra.ExactArgs(1),
	}
	explains(cmd, "/api/v1/explain/radius", func(args []string) (url.Values, error) {
		arguments := url.Values{"user": args}
		return arguments, addAddress(arguments, "nas", nas)
	})
	cmd.Flags().StringVar(&nas, "nas", "", "`IP` address of the NAS")
	return cmd
}

func explainAnycastCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "anycast NAME",
		Short:   "Say why a prefix is or is not announced, and what would change it",
		Example: "  sereno explain anycast dns-vip",
		Args:    cobra.ExactArgs(1),
	}
	completes(cmd, explains(cmd, "/api/v1/explain/anycast", func(args []string) (url.Values, error) {
		return url.Values{"name": args}, nil
	}), anycastNames)
	return cmd
}

// explains makes a command that asks the node at path and prints its words, or with
// --json its whole answer.
func explains(cmd *cobra.Command, path string, arguments func(args []string) (url.Values, error)) (socket func() (string, error)) {
	socket = socketFlag(cmd)
	whole := cmd.Flags().Bool("json", false, "print the API's answer")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query, err := arguments(args)
		if err != nil {
			return Exit(Usage, err)
		}
		where, err := socket()
		if err != nil {
			return err
		}
		body, err := newClient(where).get(cmd.Context(), path, query)
		if err != nil {
			return err
		}
		if *whole {
			return show(cmd, string(body))
		}
		var said admin.Explained
		if err := json.Unmarshal(body, &said); err != nil {
			return newClient(where).strange(err)
		}
		return show(cmd, explainedText(said))
	}
	return socket
}

// explainedText is a paragraph for each explanation.
func explainedText(said admin.Explained) string {
	var b strings.Builder
	for i, e := range said.Explanations {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(clean(e.Subject) + "\n")
		for _, words := range e.Words {
			b.WriteString("  " + clean(words) + "\n")
		}
	}
	return b.String()
}

func addAddress(arguments url.Values, name, text string) error {
	if text == "" {
		return nil
	}
	if _, err := netip.ParseAddr(text); err != nil {
		return fmt.Errorf("%s: not an IP address: %s", name, clean(text))
	}
	arguments.Set(name, text)
	return nil
}

func forgetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "forget SERVICE [ADDRESS]",
		Short: "Forget what a RADIUS service has learnt of Message-Authenticators",
		Long: `With message_authenticator: auto, an address that has sent a valid Message-Authenticator
must send it from then on. This forgets that of one NAS's address (it was replaced by an
older one), or of all, backends too.`,
		Example: "  sereno forget pppoe 10.1.0.1",
		Args:    cobra.RangeArgs(1, 2),
	}
	socket := socketFlag(cmd)
	completes(cmd, socket, serviceNames("radius"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		arguments := url.Values{"service": args[:1]}
		if len(args) == 2 {
			if err := addAddress(arguments, "address", args[1]); err != nil {
				return Exit(Usage, err)
			}
		}
		var forgotten admin.Forgotten
		if err := post(cmd, socket, "/api/v1/forget", arguments, &forgotten); err != nil {
			return err
		}
		return show(cmd, fmt.Sprintf("%s: forgot what was learnt of %d sources\n", clean(forgotten.Service), forgotten.Sources))
	}
	return cmd
}

func flushCommand() *cobra.Command {
	var subtree bool
	cmd := &cobra.Command{
		Use:   "flush SERVICE [NAME]",
		Short: "Forget cached answers of a DNS service",
		Long:  "Forgets the cached answers for NAME, with --subtree those below it too, or without NAME all of them.",
		Example: `  sereno flush resolver www.example.com
  sereno flush resolver example.com --subtree
  sereno flush resolver`,
		Args: cobra.RangeArgs(1, 2),
	}
	socket := socketFlag(cmd)
	completes(cmd, socket, serviceNames("dns"))
	cmd.Flags().BoolVar(&subtree, "subtree", false, "names below NAME too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		arguments := url.Values{"service": args[:1]}
		if len(args) == 2 {
			arguments["name"] = args[1:]
		}
		if subtree {
			if len(args) == 1 {
				return Exit(Usage, fmt.Errorf("--subtree of which name?"))
			}
			arguments.Set("subtree", "true")
		}
		var flushed admin.Flushed
		if err := post(cmd, socket, "/api/v1/flush", arguments, &flushed); err != nil {
			return err
		}
		return show(cmd, fmt.Sprintf("%s: %d cached answers forgotten\n", clean(flushed.Service), flushed.Entries))
	}
	return cmd
}
