package compare

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sereno/bench/drive"
)

//go:embed conf
var confs embed.FS

// secret is every RADIUS secret.
const secret = "compare"

// program is one of those that are compared.
type program struct {
	name    string
	conf    string // file in conf; "": none
	net     int    // 127.0.net.1 is where it listens, .11 and .12 are its backends
	command func(conf string, p *program) []string
}

// programs by name. The files are looked up in PATH and /usr/sbin.
func programs(sereno, echo string) map[string]*program {
	list := []*program{
		{name: "echo", net: 81, command: func(_ string, p *program) []string { return []string{echo, "-listen", p.listen() + ":5353"} }},
		{name: "sereno", conf: "sereno.yaml", net: 82, command: func(conf string, _ *program) []string { return []string{sereno, "run", "-c", conf} }},
		{name: "dnsdist", conf: "dnsdist.conf", net: 83, command: func(conf string, _ *program) []string {
			return []string{"dnsdist", "--supervised", "--disable-syslog", "-C", conf}
		}},
		{name: "unbound", conf: "unbound.conf", net: 84, command: func(conf string, _ *program) []string { return []string{"unbound", "-d", "-c", conf} }},
		{name: "freeradius", conf: "radiusd.conf", net: 85, command: func(conf string, _ *program) []string {
			return []string{"freeradius", "-f", "-n", "radiusd", "-d", filepath.Dir(conf)}
		}},
		{name: "radsecproxy", conf: "radsecproxy.conf", net: 86, command: func(conf string, _ *program) []string { return []string{"radsecproxy", "-f", "-c", conf} }},
	}
	byName := map[string]*program{}
	for _, p := range list {
		byName[p.name] = p
	}
	return byName
}

func (p *program) listen() string       { return fmt.Sprintf("127.0.%d.1", p.net) }
func (p *program) backend(n int) string { return fmt.Sprintf("127.0.%d.1%d", p.net, n) }

// instance is a running program with its backends.
type instance struct {
	*program
	dir      string
	process  *exec.Cmd
	log      *os.File
	ended    chan error
	backends []*drive.Backend
}

// start starts p on that core, probing tells whether it may probe its backends (failover needs it; else they are up).
func start(p *program, core int, probing bool) (_ *instance, err error) {
	i := &instance{program: p, ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			i.stop()
		}
	}()
	if i.dir, err = os.MkdirTemp("", "compare-"); err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	conf, err := i.writeConf(probing)
	if err != nil {
		return nil, err
	}
	if err := i.openBackends(); err != nil {
		return nil, err
	}
	if i.log, err = os.Create(filepath.Join(i.dir, "log")); err != nil {
		return nil, fmt.Errorf("making a log: %w", err)
	}
	args := append([]string{"-c", strconv.Itoa(core)}, p.command(conf, p)...)
	i.process = exec.Command("taskset", args...)
	i.process.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin")
	i.process.Stdout, i.process.Stderr = i.log, i.log
	i.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := i.process.Start(); err != nil {
		i.process = nil
		return nil, fmt.Errorf("starting %s: %w", p.name, err)
	}
	go func() { i.ended <- i.process.Wait() }()
	select {
	case err := <-i.ended:
		i.ended <- err
		said, _ := os.ReadFile(i.log.Name())
		return nil, fmt.Errorf("%s ended: %w: %s", p.name, errors.Join(err), bytes.TrimSpace(said))
	case <-time.After(settling):
	}
	return i, nil
}

// settling is how long a program has to start and to find its backends alive.
const settling = 2500 * time.Millisecond

// writeConf writes the configuration, and what it names.
func (i *instance) writeConf(probing bool) (string, error) {
	if i.conf == "" {
		return "", nil
	}
	text, err := confs.ReadFile("conf/" + i.conf)
	if err != nil {
		return "", fmt.Errorf("reading a configuration: %w", err)
	}
	check, up := "", ":setUp()"
	if probing {
		check, up = ", checkInterval=1, maxCheckFailures=2, rise=2", ""
	}
	text = []byte(strings.NewReplacer("@DIR@", i.dir, "@LISTEN@", i.listen(), "@BACKEND1@", i.backend(1), "@BACKEND2@", i.backend(2),
		"@SECRET@", secret, "@CHECK@", check, "@UP@", up).Replace(string(text)))
	if err := os.WriteFile(filepath.Join(i.dir, "secret"), []byte(secret), 0o600); err != nil {
		return "", fmt.Errorf("writing a secret: %w", err)
	}
	conf := filepath.Join(i.dir, i.conf)
	if err := os.WriteFile(conf, text, 0o600); err != nil {
		return "", fmt.Errorf("writing a configuration: %w", err)
	}
	return conf, nil
}

// openBackends opens what is behind it: a resolver and a RADIUS server on each of two addresses.
func (i *instance) openBackends() error {
	if i.conf == "" {
		return nil
	}
	for n := 1; n <= 2; n++ {
		b, err := drive.NewBackend(
			drive.Port{Addr: addr(i.backend(n), 5301), Answer: drive.AnswerDNS, Fail: drive.FailDNS},
			drive.Port{Addr: addr(i.backend(n), 1912), Answer: drive.NewRADIUS(secret, false).Answer},
			drive.Port{Addr: addr(i.backend(n), 1913), Answer: drive.NewRADIUS(secret, true).Answer},
		)
		if err != nil {
			return err
		}
		i.backends = append(i.backends, b)
	}
	return nil
}

func (i *instance) stop() {
	if i.process != nil {
		_ = i.process.Process.Signal(syscall.SIGTERM)
		select {
		case <-i.ended:
		case <-time.After(3 * time.Second):
			_ = i.process.Process.Kill()
			<-i.ended
		}
	}
	for _, b := range i.backends {
		b.Close()
	}
	if i.log != nil {
		_ = i.log.Close()
	}
	_ = os.RemoveAll(i.dir)
}

// usage is what a process has used.
type usage struct {
	cpu          time.Duration // of all threads, by the scheduler's clock
	user, system float64       // ticks: they give the parts of cpu
	resident     int           // bytes
}

func (i *instance) usage() (u usage) {
	proc := fmt.Sprintf("/proc/%d/", i.process.Process.Pid)
	tasks, _ := os.ReadDir(proc + "task")
	for _, t := range tasks {
		if f := fields(proc + "task/" + t.Name() + "/schedstat"); len(f) > 0 {
			ns, _ := strconv.ParseInt(f[0], 10, 64)
			u.cpu += time.Duration(ns)
		}
	}
	if f := fields(proc + "stat"); len(f) > 14 {
		u.user, _ = strconv.ParseFloat(f[13], 64)
		u.system, _ = strconv.ParseFloat(f[14], 64)
	}
	if f := fields(proc + "statm"); len(f) > 1 {
		pages, _ := strconv.Atoi(f[1])
		u.resident = pages * os.Getpagesize()
	}
	return u
}

// fields are the words of a file of /proc; none of the names here has a space.
func fields(path string) []string {
	b, _ := os.ReadFile(path) // a thread may have ended
	return strings.Fields(string(b))
}
