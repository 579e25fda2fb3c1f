package compare

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"text/template"
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
	path    string // looked up in PATH and /usr/sbin
	absent  string // why it does not take part; "": it does
	conf    string // file in conf; "": none
	args    func(conf, listen string) []string
	version []string // arguments that make it tell; nil: it is of this commit
}

// programs are all by their names.
func programs(o *Options) map[string]*program {
	withConf := func(before ...string) func(string, string) []string {
		return func(conf, _ string) []string { return append(before, conf) }
	}
	byName := map[string]*program{}
	for _, p := range []*program{
		{name: "echo", path: o.Echo, args: func(_, listen string) []string { return []string{"-listen", listen + ":5353"} }},
		{name: "sereno", path: o.Sereno, conf: "sereno.yaml", args: withConf("run", "-c")},
		{name: "dnsdist", path: "dnsdist", conf: "dnsdist.conf", args: withConf("--supervised", "--disable-syslog", "-C"), version: []string{"--version"}},
		{name: "unbound", path: "unbound", conf: "unbound.conf", args: withConf("-d", "-c"), version: []string{"-V"}},
		{name: "coredns", path: o.CoreDNS, absent: o.WithoutCoreDNS, conf: "Corefile", args: withConf("-conf"), version: []string{"-version"}},
		{name: "freeradius", path: "freeradius", conf: "radiusd.conf", version: []string{"-v"}, args: func(conf, _ string) []string {
			return []string{"-f", "-n", "radiusd", "-d", filepath.Dir(conf)}
		}},
		{name: "radsecproxy", path: "radsecproxy", conf: "radsecproxy.conf", args: withConf("-f", "-c"), version: []string{"-v"}},
	} {
		byName[p.name] = p
		if p.absent != "" {
			continue
		}
		if path, err := find(p.path); err != nil {
			p.absent = "not installed here"
		} else {
			p.path = path
		}
	}
	for _, name := range o.Without {
		if p := byName[name]; p != nil {
			p.absent = "left out"
		}
	}
	return byName
}

func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/" + name)
}

var versionNumber = regexp.MustCompile(`\d+\.\d+(\.\d+)?`)

// told is the program's version.
func (p *program) told(ctx context.Context) string {
	out, _ := exec.CommandContext(ctx, p.path, p.version...).CombinedOutput() // some end with 1 after it
	return versionNumber.FindString(string(out))
}

// instance is a running program with its backends.
type instance struct {
	*program
	entrant  entrant
	net      int // 127.0.net.1 is where it listens, from .11 on are its backends
	dir      string
	process  *exec.Cmd
	log      *os.File
	ended    chan error
	backends []*drive.Backend
	base     int // bytes that it had when it had started
}

func (i *instance) String() string       { return i.entrant.String() }
func (i *instance) listen() string       { return fmt.Sprintf("127.0.%d.1", i.net) }
func (i *instance) backend(n int) string { return fmt.Sprintf("127.0.%d.%d", i.net, 11+n) }

// start starts an entrant on those cores, with its backends. With probing it probes them (failover needs it; else they are
// up). The caller waits until it has settled, and stops it, also after an error.
func (i *instance) start(cores []int, probing bool) (err error) {
	i.ended = make(chan error, 1)
	if i.dir, err = os.MkdirTemp("", "compare-"); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	conf, err := i.writeConf(probing)
	if err != nil {
		return err
	}
	if err := i.openBackends(); err != nil {
		return err
	}
	if i.log, err = os.Create(filepath.Join(i.dir, "log")); err != nil {
		return fmt.Errorf("making a log: %w", err)
	}
	on := make([]string, len(cores))
	for k, core := range cores {
		on[k] = strconv.Itoa(core)
	}
	i.process = exec.Command("taskset", append([]string{"-c", strings.Join(on, ","), i.path}, i.args(conf, i.listen())...)...)
	i.process.Stdout, i.process.Stderr = i.log, i.log
	i.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// Pdeathsig is sent when the thread ends that started it: this one outlives it.
	process, ended, started := i.process, i.ended, make(chan error)
	go func() {
		runtime.LockOSThread()
		err := process.Start()
		started <- err
		if err == nil {
			ended <- process.Wait()
		}
	}()
	if err := <-started; err != nil {
		i.process = nil
		return fmt.Errorf("starting %s: %w", i, err)
	}
	return nil
}

// settling is how long programs have to start and to find their backends alive.
const settling = 2500 * time.Millisecond

// settled tells whether it runs, and what it has used until now.
func (i *instance) settled() error {
	select {
	case err := <-i.ended:
		i.ended <- err
		said, _ := os.ReadFile(i.log.Name())
		return fmt.Errorf("%s ended: %w: %s", i, errors.Join(err), bytes.TrimSpace(said))
	default:
	}
	i.base = i.usage().resident
	return nil
}

// writeConf writes the configuration, and what it names.
func (i *instance) writeConf(probing bool) (string, error) {
	if i.conf == "" {
		return "", nil
	}
	t, err := template.ParseFS(confs, "conf/"+i.conf)
	if err != nil {
		return "", fmt.Errorf("reading a configuration: %w", err)
	}
	values := struct {
		Dir, Listen, Secret string
		Backends, RADIUS    []string
		Probing             bool
	}{Dir: i.dir, Listen: i.listen(), Secret: secret, Probing: probing}
	for n := range i.backendCount() {
		values.Backends = append(values.Backends, i.backend(n))
	}
	values.RADIUS = values.Backends[:radiusBackends]
	var text bytes.Buffer
	if err := t.Execute(&text, values); err != nil {
		return "", fmt.Errorf("writing a configuration: %w", err)
	}
	conf := filepath.Join(i.dir, i.conf)
	err = errors.Join(os.WriteFile(filepath.Join(i.dir, "secret"), []byte(secret), 0o600), os.WriteFile(conf, text.Bytes(), 0o600))
	if err != nil {
		return "", fmt.Errorf("writing a configuration: %w", err)
	}
	return conf, nil
}

// radiusBackends is how many of an instance's backends are RADIUS servers, too.
const radiusBackends = 2

func (i *instance) backendCount() int { return max(i.entrant.backends, radiusBackends) }

// openBackends opens what is behind it: a resolver on each address, and a RADIUS server on the first two.
func (i *instance) openBackends() error {
	if i.conf == "" {
		return nil
	}
	for n := range i.backendCount() {
		// Each backend is a thread of its own, and what signs is not for two.
		auth, acct := drive.NewRADIUS(secret, false), drive.NewRADIUS(secret, true)
		ports := []drive.Port{{Addr: addr(i.backend(n), 5301), Answer: drive.AnswerDNS, Fail: drive.FailDNS}}
		if n < radiusBackends {
			ports = append(ports,
				drive.Port{Addr: addr(i.backend(n), 1912), Answer: auth.Answer, Fail: auth.Fail},
				drive.Port{Addr: addr(i.backend(n), 1913), Answer: acct.Answer, Fail: acct.Fail})
		}
		b, err := drive.NewBackend(ports...)
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
	if i.dir != "" {
		_ = os.RemoveAll(i.dir)
	}
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
