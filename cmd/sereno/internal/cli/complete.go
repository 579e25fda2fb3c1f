package cli

import (
	"cmp"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
)

// completer says which words may come next, given what there is.
type completer func(there admin.Status) []string

// completes has a command's only argument, or its first, completed with what the running
// node has; when none answers, with what the configuration names.
func completes(cmd *cobra.Command, socket func() (string, error), words completer) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		there, known := configured(cmd)
		if where, err := socket(); err == nil {
			if status, _, err := newClient(where).status(cmd.Context()); err == nil {
				there, known = status, true
			}
		}
		if !known {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words(there), cobra.ShellCompDirectiveNoFileComp
	}
}

// configured is what the command's configuration names, in the shape of a status.
func configured(cmd *cobra.Command) (out admin.Status, known bool) {
	path := cmp.Or(cmd.Flag("config").Value.String(), os.Getenv(configVariable), defaultConfig)
	c, _ := config.Load(path, config.Options{NoFiles: true})
	if c == nil {
		return out, false
	}
	for i := range c.DNS {
		out.Services = append(out.Services, admin.Service{Name: c.DNS[i].Name, Kind: "dns"})
	}
	for i := range c.RADIUS {
		out.Services = append(out.Services, admin.Service{Name: c.RADIUS[i].Name, Kind: "radius"})
	}
	for i := range c.Anycast {
		out.Anycast = append(out.Anycast, admin.Anycast{Name: c.Anycast[i].Name})
	}
	for i := range c.Pools {
		p := admin.Pool{Name: c.Pools[i].Name}
		for j := range c.Pools[i].Backends {
			p.Backends = append(p.Backends, admin.Backend{Name: c.Pools[i].Backends[j].Name})
		}
		out.Pools = append(out.Pools, p)
	}
	return out, true
}

// serviceNames are the services of a kind; "": of any.
func serviceNames(kind string) completer {
	return func(there admin.Status) (names []string) {
		for i := range there.Services {
			if kind == "" || there.Services[i].Kind == kind {
				names = append(names, clean(there.Services[i].Name))
			}
		}
		return names
	}
}

func anycastNames(there admin.Status) (names []string) {
	for _, a := range there.Anycast {
		names = append(names, clean(a.Name))
	}
	return names
}

// drainedTargets are those that are drained.
func drainedTargets(there admin.Status) (targets []string) {
	for _, d := range there.Drains {
		targets = append(targets, clean(d.Target))
	}
	return targets
}

// targetsOf are all targets of a drain. A RADIUS backend stands once for each of its roles
// and is one target.
func targetsOf(there admin.Status) []string {
	targets := []string{string(admin.TargetNode)}
	add := func(t admin.Target) {
		if text := clean(t.String()); !slices.Contains(targets, text) {
			targets = append(targets, text)
		}
	}
	for i := range there.Services {
		add(admin.Target{Kind: admin.TargetService, Name: there.Services[i].Name})
	}
	for _, a := range there.Anycast {
		add(admin.Target{Kind: admin.TargetAnycast, Name: a.Name})
	}
	for _, p := range there.Pools {
		for _, b := range p.Backends {
			add(admin.Target{Kind: admin.TargetBackend, Name: p.Name, Backend: b.Name})
		}
	}
	return targets
}
