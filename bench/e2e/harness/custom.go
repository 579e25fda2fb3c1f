package harness

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"sereno/bench/internal/servers"
)

// Write writes a file of the lab, whose name may have folders, and gives its path.
func (l *Lab) Write(name, text string) string {
	l.t.Helper()
	return l.write(name, text)
}

// Daemon starts a program that stays until it is killed or the lab ends.
func (l *Lab) Daemon(name, program string, args ...string) *Process {
	l.t.Helper()
	p := l.prepare(name, l.Program(program), args...)
	p.start()
	return p
}

// FreeRADIUSWith starts a RADIUS server of that name and address with a configuration of the test's own, and waits
// until it answers. files are those of its directory, by name; in their text, DIR stands for that directory.
// radiusd.conf must be among them.
func (l *Lab) FreeRADIUSWith(name string, addr netip.Addr, files map[string]string) *FreeRADIUS {
	l.t.Helper()
	f := &FreeRADIUS{Addr: addr, dir: filepath.Join(l.dir, name)}
	for file, text := range files {
		l.write(name+"/"+file, strings.ReplaceAll(text, "DIR", f.dir))
	}
	l.write(name+"/dictionary", servers.RADIUSDictionary)
	f.Process = l.prepare(name, l.Program("freeradius"), servers.FreeRADIUS{Dir: f.dir}.Args()...)
	f.Start()
	return f
}

// SerenoWith starts a node with the lab's addresses and the sections that are given, and waits until it is ready.
func (l *Lab) SerenoWith(sections string) *Sereno {
	l.t.Helper()
	s := l.Prepare(Config{})
	l.write("sereno.yaml", fmt.Sprintf("%s%s", l.yaml(Config{}, s), sections))
	s.Start()
	s.WaitReady()
	return s
}
