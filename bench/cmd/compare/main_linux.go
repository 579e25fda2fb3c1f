// Command compare measures sereno beside dnsdist, Unbound, CoreDNS, FreeRADIUS, radsecproxy and a bare echo.
//
//	go run ./bench/cmd/compare --rounds 5
//	go run ./bench/cmd/compare --only dns-hit,failover --write ""
//
// It exits 0 when every bar is met, 1 when one is not or something failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sereno/bench/compare"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	met, err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
	}
	if err != nil || !met {
		os.Exit(1)
	}
}

func run(ctx context.Context) (bool, error) {
	var o compare.Options
	var only, without string
	flag.StringVar(&only, "only", "", "`cases`, by name or its beginning, with commas between")
	flag.StringVar(&without, "without", "", "`programs` to leave out; coredns is built with Go's module proxy otherwise")
	flag.IntVar(&o.Rounds, "rounds", 5, "rounds of each program; they are interleaved")
	flag.DurationVar(&o.For, "for", 1500*time.Millisecond, "how long one round of one program is")
	flag.DurationVar(&o.FailFor, "failover-for", 4500*time.Millisecond, "how long one failover is; the backend breaks after a third of it")
	flag.IntVar(&o.FailRounds, "failover-rounds", 2, "rounds of a backend that is killed or frozen; the other failovers have one")
	flag.IntVar(&o.ServerCore, "server-core", 0, "core of the servers")
	flag.IntVar(&o.LoadCore, "load-core", 1, "core of the load")
	flag.StringVar(&o.Sereno, "sereno", "", "`binary` to measure (default: built from here)")
	write := flag.String("write", "bench/RESULTS.md", "document that takes up the report; charts go to the directory beside it; \"\": none")
	flag.Parse()
	o.Only, o.Without, o.Progress = list(only), list(without), os.Stdout

	dir, err := os.MkdirTemp("", "compare-bin-")
	if err != nil {
		return false, fmt.Errorf("making a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := binaries(ctx, &o, dir); err != nil {
		return false, err
	}
	report, err := compare.Run(ctx, o)
	if *write != "" && len(report.Sections) > 0 {
		report.Whole = report.Whole && err == nil
		err = errors.Join(err, merge(*write, report))
	}
	return err == nil && report.Met(), err
}

// binaries builds what is measured and is not a package of the system.
func binaries(ctx context.Context, o *compare.Options, dir string) error {
	o.Echo = filepath.Join(dir, "udpecho")
	if err := build(ctx, o.Echo, "sereno/bench/cmd/udpecho"); err != nil {
		return err
	}
	o.Commit = "unknown"
	if o.Sereno == "" {
		o.Sereno = filepath.Join(dir, "sereno")
		if err := build(ctx, o.Sereno, "sereno/cmd/sereno"); err != nil {
			return err
		}
		// Not an error: a source archive has no history.
		if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
			o.Commit = strings.TrimSpace(string(out))
		}
	}
	if slices.Contains(o.Without, "coredns") {
		return nil
	}
	var err error
	if o.CoreDNS, err = compare.BuildCoreDNS(ctx, dir); err != nil {
		fmt.Fprintln(os.Stderr, "compare: coredns takes no part:", err)
		o.WithoutCoreDNS = "could not be built here"
	}
	return nil
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}

func build(ctx context.Context, to, what string) error {
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", to, what).CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w: %s", what, err, out)
	}
	return nil
}

func merge(path string, report compare.Report) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the report: %w", err)
	}
	for _, s := range report.Sections {
		chart := filepath.Join(filepath.Dir(path), s.ChartFile())
		if err := os.MkdirAll(filepath.Dir(chart), 0o755); err != nil { //nolint:gosec // for a document
			return fmt.Errorf("making a directory of charts: %w", err)
		}
		if err := os.WriteFile(chart, s.Chart, 0o644); err != nil { //nolint:gosec // a document
			return fmt.Errorf("writing a chart: %w", err)
		}
	}
	if err := os.WriteFile(path, []byte(compare.Merge(string(old), report)), 0o644); err != nil { //nolint:gosec // a document
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
