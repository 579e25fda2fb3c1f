// Command compare measures sereno beside dnsdist, Unbound, FreeRADIUS, radsecproxy and a bare echo.
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
	flag.StringVar(&without, "without", "", "`programs` to leave out")
	flag.IntVar(&o.Rounds, "rounds", 5, "rounds of each program; they are interleaved")
	flag.DurationVar(&o.For, "for", 2*time.Second, "how long one round of one program is; a failover takes three times as long")
	flag.IntVar(&o.ServerCore, "server-core", 0, "core of the servers")
	flag.IntVar(&o.LoadCore, "load-core", 1, "core of the load")
	flag.StringVar(&o.Sereno, "sereno", "", "`binary` to measure (default: built from here)")
	write := flag.String("write", "bench/RESULTS.md", "report that takes up the sections; \"\": none")
	flag.Parse()
	o.Only, o.Without, o.Progress = list(only), list(without), os.Stdout

	dir, err := os.MkdirTemp("", "compare-bin-")
	if err != nil {
		return false, fmt.Errorf("making a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	o.Echo = filepath.Join(dir, "udpecho")
	if err := build(ctx, o.Echo, "sereno/bench/cmd/udpecho"); err != nil {
		return false, err
	}
	if o.Sereno == "" {
		o.Sereno = filepath.Join(dir, "sereno")
		if err := build(ctx, o.Sereno, "sereno/cmd/sereno"); err != nil {
			return false, err
		}
	}
	sections, err := compare.Run(ctx, o)
	met := err == nil
	for _, s := range sections {
		met = met && s.Met
	}
	if *write != "" && len(sections) > 0 {
		err = errors.Join(err, merge(*write, sections))
	}
	return met, err
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

func merge(path string, sections []compare.Section) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the report: %w", err)
	}
	if err := os.WriteFile(path, []byte(compare.Merge(string(old), sections)), 0o644); err != nil { //nolint:gosec // a document
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
