package lab

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sereno/bench/internal/nas"
	"sereno/bench/load"
)

// evidence is what a soak leaves, in a directory:
//
//	events.log      what happened, as it was printed
//	clients.csv     the clients' books after each event
//	https.csv       each try over HTTPS that failed, and why
//	samples.csv     what the nodes were like, every two seconds
//	accounting.csv  each accounting record: what the NAS knows of it, and what the servers have
//	node-N.prom     each node's metrics at the end
//	lab/            the programs' logs and configurations, and the servers' detail files
type evidence struct {
	dir string
	out io.Writer

	mu    sync.Mutex
	files map[string]*os.File
}

func newEvidence(into string, out io.Writer) (*evidence, error) {
	e := &evidence{dir: into, out: out, files: map[string]*os.File{}}
	for name, head := range map[string]string{
		"events.log": "", "samples.csv": readingHead, "https.csv": "seconds,name,try,error\n",
		"clients.csv": "seconds,client,sent,answered,lost,wrong,waiting,asked_again,servfail,p50_ms,p99_ms,max_ms\n",
	} {
		file, err := os.Create(filepath.Join(into, name))
		if err != nil {
			return nil, errors.Join(err, e.close())
		}
		e.files[name] = file
		e.write(name, head)
	}
	return e, nil
}

func (e *evidence) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, f := range e.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func (e *evidence) write(name, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.files[name].WriteString(text); err != nil {
		fmt.Fprintf(e.out, "writing %s: %v\n", name, err)
	}
}

// say tells a line, with its time.
func (e *evidence) say(at time.Duration, text string) {
	line := fmt.Sprintf("%02d:%02d %s\n", int(at.Minutes()), int(at.Seconds())%60, text)
	fmt.Fprint(e.out, line)
	e.write("events.log", line)
}

func (e *evidence) sample(r reading) { e.write("samples.csv", r.csv()) }

func (e *evidence) https(at time.Duration, name string, try int, err error) {
	e.write("https.csv", fmt.Sprintf("%.3f,%s,%d,%q\n", at.Seconds(), name, try, err))
}

// books writes the clients' books.
func (e *evidence) books(at time.Duration, s *soak) {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	var text strings.Builder
	for _, a := range s.askers {
		b := a.books()
		fmt.Fprintf(&text, "%.1f,%s,%d,%d,%d,%d,%d,%d,%d,%.3f,%.3f,%.3f\n", at.Seconds(), strings.ReplaceAll(a.name, ",", ""), b.Sent, b.Answered, b.Lost, b.Wrong, b.Waiting,
			b.Resent, b.Fates[load.Failed], ms(b.Latency.Quantile(0.5)), ms(b.Latency.Quantile(0.99)), ms(b.Latency.Max()))
	}
	e.write("clients.csv", text.String())
}

// metrics keeps a node's.
func (e *evidence) metrics(n *node) error {
	text, err := n.get("/metrics")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(e.dir, n.name+".prom"), text, 0o600)
}

// accounting writes both books of every record.
func (e *evidence) accounting(told map[nas.Event]nas.Told, first map[nas.Event]written) (err error) {
	file, err := os.Create(filepath.Join(e.dir, "accounting.csv"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	out := bufio.NewWriter(file)
	fmt.Fprintln(out, "session,record,first_sent,last_sent,sends,acknowledged,site,server,written,delay,copies")
	events := make([]nas.Event, 0, len(told))
	for ev := range told {
		events = append(events, ev)
	}
	slices.SortFunc(events, func(a, b nas.Event) int { return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.N, b.N)) })
	for _, ev := range events {
		t, w := told[ev], first[ev]
		fmt.Fprintf(out, "%s,%d,%.3f,%.3f,%d,%v,%d,%d,%d,%d,%d\n", ev.Session, ev.N, float64(t.First.UnixMilli())/1000, float64(t.Last.UnixMilli())/1000,
			t.Sends, t.Acked, w.site, w.server, w.Timestamp, w.Delay, w.copies)
	}
	return out.Flush()
}

// take copies what the laboratory has written: its directory is gone with it. State directories, sockets and secrets
// stay behind.
func (e *evidence) take() error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return nil // gone meanwhile
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), "state-") {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() || strings.HasSuffix(path, ".key") || strings.HasSuffix(path, ".secret") {
			return nil
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return copyFile(path, filepath.Join(e.dir, "lab", relative))
	})
}

func copyFile(from, to string) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
