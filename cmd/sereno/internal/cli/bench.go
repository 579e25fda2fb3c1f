package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sereno/bench/capacity"
	"sereno/bench/load"
)

func benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what a server or a front of one's own can do",
		Long: `Sends DNS or RADIUS load, checks every answer, and says what the server can do: at a fixed
rate, along a ramp, or in a search for the knee, the highest rate at which loss and latency
stay within bounds. Latency counts from when a request was due, whether or not those before
it were answered.

It is for one's own servers: addresses outside this host are refused without --allow-remote.

Exit codes: 0 the bounds were held (of a search: a rate was found), 1 they were not, or it
failed, 2 wrong usage.`,
		Example: `  sereno bench dns --target 127.0.0.1:53 --rate 20000 --for 30s --names 10000 --zipf 1
  sereno bench radius --auth 127.0.0.1:1812 --secret-file secret --search --html report.html`,
		RunE: func(*cobra.Command, []string) error {
			return Exit(Usage, errors.New("which? `sereno bench --help` lists them"))
		},
	}
	cmd.AddCommand(benchDNS(), benchRADIUS(), benchStub())
	return cmd
}

// benchFlags are those of both protocols.
type benchFlags struct {
	common   load.Common
	plan     capacity.Plan
	search   bool
	ramp     string
	maxLoss  float64
	sources  []string
	servers  []int
	asJSON   bool
	html     string
	insecure []string // names of flags whose values no report may show

	highest   float64       // rate of a search, unless the user says another
	searchP99 time.Duration // bound of a search, likewise
	groups    []*pflag.FlagSet
}

// add adds them in groups, behind what the protocol's own asks; the groups are the command's help.
func (f *benchFlags) add(cmd *cobra.Command, own *pflag.FlagSet) {
	f.groups = []*pflag.FlagSet{own}
	group := func(title string) *pflag.FlagSet {
		s := pflag.NewFlagSet(title, pflag.ContinueOnError)
		s.SortFlags = false
		f.groups = append(f.groups, s)
		return s
	}
	s := group("How fast it is asked")
	s.Float64Var(&f.plan.Rate, "rate", 1000, "`REQUESTS` a second, whether or not earlier ones were answered")
	s.DurationVar(&f.plan.For, "for", 10*time.Second, "how long, at a fixed rate or in all of a ramp")
	s.BoolVar(&f.search, "search", false, "look for the knee: the highest rate at which the bounds hold")
	s.Float64Var(&f.plan.From, "from", 1000, "the first `RATE` of a search")
	s.Float64Var(&f.plan.To, "to", f.highest, "the highest `RATE` of a search")
	s.Lookup("to").DefValue = strconv.FormatFloat(f.highest, 'f', -1, 64)
	s.DurationVar(&f.plan.Window, "window", 3*time.Second, "how long a search tries one rate")
	s.Float64Var(&f.plan.Precision, "precision", 0.05, "how far off a search may be, as a `SHARE` of the rate")
	s.StringVar(&f.ramp, "ramp", "", "go from one rate to another: `FROM:TO`")
	s.IntVar(&f.plan.Windows, "steps", 10, "how many rates a ramp has")
	s.IntVar(&f.common.Window, "closed", 0, "closed loop: so many `CLIENTS` that ask again when answered")
	s = group("What counts as good")
	s.Float64Var(&f.maxLoss, "max-loss", 0.1, "bound: `PERCENT` that may be lost or answered wrongly")
	s.DurationVar(&f.plan.Bounds.P99, "max-p99", 0, fmt.Sprintf("bound: p99 of the latency (0: none; a search: %s)", f.searchP99))
	s.DurationVar(&f.common.Timeout, "timeout", 2*time.Second, "without an answer by then a request is lost")
	s.DurationVar(&f.common.Resend, "resend", 0, "send again what is unanswered after each such time (0: never)")
	s.IntVar(&f.common.Tries, "tries", 3, "how often a request is sent in all, with --resend")
	s = group("Where it is asked from")
	s.StringSliceVar(&f.sources, "source", nil, "`ADDRESSES` to send from: one, several, or a network, e.g. 127.1.0.0/24")
	s.IntVar(&f.common.Sockets, "sockets", 0, "source ports (0: 32, RADIUS as the rate needs)")
	s.IntVar(&f.common.Workers, "workers", 1, "threads that send")
	s.BoolVar(&f.common.NoCut, "no-offload", false, "no segmentation offload (UDP_SEGMENT, UDP_GRO)")
	s.BoolVar(&f.common.Anywhere, "allow-remote", false, "the target may be another host, one of your own")
	s = group("What is reported")
	s.StringVar(&f.html, "html", "", "write the report to `FILE` as a page with charts")
	s.BoolVar(&f.asJSON, "json", false, "print the report as JSON")
	s.IntSliceVar(&f.servers, "server-pid", nil, "`PID` of a server on this host, whose CPU time is reported too")
	for _, s := range f.groups {
		cmd.Flags().AddFlagSet(s)
	}
	cmd.MarkFlagsMutuallyExclusive("search", "ramp", "closed")
	cmd.SetUsageFunc(f.usage)
}

// usage is the command's, with its flags in their groups.
func (f *benchFlags) usage(cmd *cobra.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n\nExamples:\n%s\n", cmd.UseLine(), cmd.Example)
	for _, s := range f.groups {
		fmt.Fprintf(&b, "\n%s:\n%s", s.Name(), s.FlagUsages())
	}
	b.WriteString("\nExit codes: 0 the bounds were held (of a search: a rate was found), 1 they were not, or it failed,\n2 wrong usage.\n")
	_, err := io.WriteString(cmd.OutOrStderr(), b.String())
	return err
}

// finish turns what was given into the generator's settings and the plan.
func (f *benchFlags) finish(cmd *cobra.Command) error {
	f.plan.Shape, f.plan.Bounds.Loss, f.plan.Drain = capacity.Fixed, f.maxLoss/100, f.common.Timeout
	for _, source := range f.sources {
		if a, err := netip.ParseAddr(source); err == nil {
			f.common.Sources = append(f.common.Sources, a)
			continue
		}
		p, err := netip.ParsePrefix(source)
		if err != nil {
			return fmt.Errorf("--source: %q is neither an address nor a network", source)
		}
		f.common.Sources = append(f.common.Sources, load.Sources(p, maxBenchSources)...)
	}
	if n := len(f.common.Sources); n > f.common.Sockets && n > 1 {
		f.common.Sockets = n
	}
	switch {
	case f.search:
		f.plan.Shape = capacity.Search
		f.common.MaxRate = f.plan.To
		if !cmd.Flags().Changed("max-p99") {
			f.plan.Bounds.P99 = f.searchP99
		}
	case f.ramp != "":
		from, to, _ := strings.Cut(f.ramp, ":")
		var err1, err2 error
		f.plan.From, err1 = strconv.ParseFloat(from, 64)
		f.plan.To, err2 = strconv.ParseFloat(to, 64)
		if err1 != nil || err2 != nil {
			return fmt.Errorf("--ramp: %q is not FROM:TO", f.ramp)
		}
		f.plan.Shape, f.common.MaxRate = capacity.Ramp, max(f.plan.From, f.plan.To)
	case f.common.Window > 0 && !cmd.Flags().Changed("rate"):
		f.plan.Rate = 0
	}
	f.common.Rate = f.plan.Rate
	if f.plan.Shape != capacity.Fixed {
		f.common.Rate = 0
	}
	return nil
}

// maxBenchSources bounds the addresses that one network stands for.
const maxBenchSources = 4096

// run measures and reports.
func (f *benchFlags) run(cmd *cobra.Command, l capacity.Load, r capacity.Report) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	page, err := f.page()
	if err != nil {
		return err
	}
	live := newBenchProgress(cmd.ErrOrStderr(), f.plan)
	report, err := capacity.Run(ctx, f.plan, l, f.servers, live.tell)
	live.end()
	if err != nil {
		if report == nil {
			err = Exit(Usage, err)
		}
		return err
	}
	report.Title, report.Target, report.Settings = r.Title, r.Target, append(r.Settings, f.settings()...)
	report.Command = commandLine(cmd, f.insecure)
	if page != nil {
		if err := errors.Join(report.HTML(page), page.Close()); err != nil {
			return fmt.Errorf("writing %s: %w", f.html, err)
		}
	}
	out := cmd.OutOrStdout()
	if f.asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		err = e.Encode(report)
	} else {
		err = report.Text(out)
	}
	if err != nil {
		return err
	}
	if !report.Held {
		return Exit(Failed, nil)
	}
	return nil
}

// page opens the file of the report before anything is measured for it.
func (f *benchFlags) page() (*os.File, error) {
	if f.html == "" {
		return nil, nil
	}
	file, err := os.Create(f.html)
	if err != nil {
		return nil, Exit(Usage, fmt.Errorf("--html: %w", err))
	}
	return file, nil
}

// settings are the common ones in words.
func (f *benchFlags) settings() []capacity.Setting {
	c := &f.common
	loop := "open"
	if c.Window > 0 {
		loop = fmt.Sprintf("closed, %d clients", c.Window)
	}
	s := []capacity.Setting{{Name: "loop", Value: loop}, {Name: "timeout", Value: c.Timeout.String()}}
	if c.Resend > 0 {
		s = append(s, capacity.Setting{Name: "sent again", Value: fmt.Sprintf("each %s, %d times in all", c.Resend, c.Tries)})
	}
	if n := len(c.Sources); n > 0 {
		s = append(s, capacity.Setting{Name: "sources", Value: fmt.Sprintf("%d addresses", n)})
	}
	return append(s, capacity.Setting{Name: "workers", Value: fmt.Sprintf("%d of %d CPUs", max(c.Workers, 1), runtime.NumCPU())})
}

// commandLine is the command as it was given, without the values of secret flags.
func commandLine(cmd *cobra.Command, secret []string) string {
	b := cmd.CommandPath()
	cmd.Flags().VisitAll(func(fl *pflag.Flag) {
		if !fl.Changed {
			return
		}
		value := fl.Value.String()
		if list, ok := fl.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		for _, name := range secret {
			if name == fl.Name {
				value = "…"
			}
		}
		b += " --" + fl.Name
		if fl.NoOptDefVal == "" {
			b += " " + shellWord(value)
		}
	})
	return b
}

// shellWord quotes what a shell would not take as it is.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:,@%+=[]…", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// benchAddr reads the address that a flag gives; without one it is invalid.
func benchAddr(flag, s string) (netip.AddrPort, error) {
	if s == "" {
		return netip.AddrPort{}, nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, Exit(Usage, fmt.Errorf("--%s: %w", flag, err))
	}
	return a, nil
}

// benchList reads the list of the file that a flag names; without one there is none.
func benchList[T any](flag, path string, read func(io.Reader) ([]T, error)) ([]T, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, Exit(Usage, fmt.Errorf("--%s: %w", flag, err))
	}
	defer file.Close()
	list, err := read(file)
	if err != nil {
		return nil, Exit(Usage, fmt.Errorf("--%s %s: %w", flag, path, err))
	}
	return list, nil
}

// openingError tells wrong usage from sockets that cannot be had.
func openingError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return err
	}
	if errors.Is(err, load.ErrElsewhere) {
		err = fmt.Errorf("%w (--allow-remote, if it is a server of your own)", err)
	}
	return Exit(Usage, err)
}
