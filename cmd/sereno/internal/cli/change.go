package cli

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"sereno/cmd/sereno/internal/admin"
)

const targets = `A TARGET is node, service/NAME, anycast/NAME or pool/POOL/BACKEND. Of a service its
anycasts are drained, and it still answers; of the node all of them; nothing closes.`

func drainCommand() *cobra.Command {
	var forText string
	var force bool
	cmd := &cobra.Command{
		Use:   "drain TARGET",
		Short: "Take a backend, an anycast entry, a service or the node out of use",
		Long: targets + `

A drain survives a reload and a restart, and ends by ` + "`sereno undrain TARGET`" + ` or after --for.
One that would leave a pool below min_healthy, or withdraw the node's last announced
anycast, is refused without --force.`,
		Example: `  sereno drain pool/resolvers/tempesta
  sereno drain anycast/dns-vip --for 30m
  sereno drain node --force`,
		Args: oneTarget,
	}
	socket := socketFlag(cmd)
	completes(cmd, socket, targetsOf)
	cmd.Flags().StringVar(&forText, "for", "", "end the drain after `DURATION` (30m, 12h, 2d)")
	cmd.Flags().BoolVar(&force, "force", false, "even if too few backends or no route is left")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		arguments := url.Values{"target": args}
		if cmd.Flags().Changed("for") {
			if _, err := admin.ParseFor(forText); err != nil {
				return Exit(Usage, fmt.Errorf("--for: %w", err))
			}
			arguments.Set("for", forText)
		}
		if force {
			arguments.Set("force", "true")
		}
		var drain admin.Drained
		if err := post(cmd, socket, "/api/v1/drain", arguments, &drain); err != nil {
			return err
		}
		until := "until it is undrained"
		if !drain.Until.IsZero() {
			until = "until " + utc(drain.Until.Time)
		}
		warn(cmd, drain.Warning)
		return show(cmd, fmt.Sprintf("%s is drained %s\n", clean(drain.Target), until))
	}
	return cmd
}

func undrainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "undrain TARGET",
		Short: "End a drain",
		Long:  targets,
		Example: `  sereno undrain pool/resolvers/tempesta
  sereno undrain node`,
		Args: oneTarget,
	}
	socket := socketFlag(cmd)
	completes(cmd, socket, drainedTargets)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var undrained admin.Undrained
		if err := post(cmd, socket, "/api/v1/undrain", url.Values{"target": args}, &undrained); err != nil {
			return err
		}
		warn(cmd, undrained.Warning)
		return show(cmd, clean(undrained.Target)+" is no longer drained\n")
	}
	return cmd
}

// warn tells what a change that was made lacks; nothing if text is empty.
func warn(cmd *cobra.Command, text string) {
	if text != "" {
		note(cmd, "warning: "+clean(text))
	}
}

func reloadCommand() *cobra.Command {
	var allowEmpty bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Let the node read its configuration again, and print what changed",
		Long: `The node reads its configuration, checks it, and applies it as a whole or not at all. What
changed is printed; what needs a restart is named. If it is refused, the errors are
printed, the exit code is 1, and the node goes on as before.`,
		Example: `  sereno reload
  sereno reload --allow-empty   # the last anycast prefix or neighbor is taken away on purpose`,
		Args: NoArguments,
	}
	socket := socketFlag(cmd)
	cmd.Flags().BoolVar(&allowEmpty, "allow-empty", false, "allow a configuration without the last anycast prefix or neighbor")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		arguments := url.Values{}
		if allowEmpty {
			arguments.Set("allow_empty", "true")
		}
		var changes admin.Changes
		if err := post(cmd, socket, "/api/v1/reload", arguments, &changes); err != nil {
			return err
		}
		for _, warning := range changes.Warnings {
			note(cmd, clean(warning))
		}
		return show(cmd, cleanLines(changesText(changes)))
	}
	return cmd
}

// changesText is a line for each change.
func changesText(changes admin.Changes) string {
	var b strings.Builder
	for _, c := range changes.Changes {
		b.WriteString(changeText(c) + "\n")
	}
	for _, c := range changes.Routes {
		b.WriteString(changeText(c) + "\n")
	}
	for _, key := range changes.Restart {
		b.WriteString(key + ": needs a restart\n")
	}
	if b.Len() == 0 {
		return fmt.Sprintf("nothing changed (%s)\n", changes.Hash)
	}
	fmt.Fprintf(&b, "reloaded (%s)\n", changes.Hash)
	return b.String()
}

func changeText(c admin.Change) string {
	switch {
	case c.Key == "":
		return c.Text
	case c.Text == "":
		return c.Key + ": " + c.Action
	}
	return c.Key + ": " + c.Text
}

// oneTarget demands one argument that can be a target.
func oneTarget(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("one target is needed, not %d: node, service/NAME, anycast/NAME or pool/POOL/BACKEND", len(args))
	}
	_, err := admin.ParseTarget(args[0])
	return err
}

// post makes a change at the node that the flags name.
func post(cmd *cobra.Command, socket func() (string, error), path string, arguments url.Values, result any) error {
	where, err := socket()
	if err != nil {
		return err
	}
	return newClient(where).post(cmd.Context(), path, arguments, result)
}
