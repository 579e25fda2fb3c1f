// Package harness starts real programs for the end-to-end tests: Unbound,
// FreeRADIUS, BIRD and sereno itself, each with a small configuration of its
// own, on loopback addresses that no other run uses.
//
// A Lab ends everything it started when its test ends, however that ends:
// every program is the leader of a process group, which is killed, and dies
// with the test's own process. When the test has failed, the programs' last
// lines of output are shown.
//
// Nothing here needs root, the network, or a configuration of the machine.
package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Ports of the lab's programs. Each has an address of its own, so these are the same in every lab.
const (
	DNSPort  = 5300
	AuthPort = 1812
	AcctPort = 1813
	BGPPort  = 1179
	HTTPPort = 8053
)

// Secrets of the lab.
const (
	NASSecret     = "nas-secret-of-the-lab"
	BackendSecret = "backend-secret-of-the-lab"
)

// Hosts of the lab: the last octet of their addresses.
const (
	hostNode    = 1
	hostRouter  = 2
	hostDNS     = 53
	hostRADIUS  = 54
	hostLock    = 250
	hostUnbound = 10 // + number
	hostServer  = 20 // + number
)

// Lab is one test's addresses, directory and programs.
type Lab struct {
	t    *testing.T
	dir  string
	net  [2]byte // 127.net[0].net[1].0/24
	lock net.Listener
	runs chan func() // on the thread that starts the programs

	mu        sync.Mutex
	processes []*Process
}

// New makes an empty lab that ends with the test. Missing programs fail the test.
func New(t *testing.T) *Lab {
	t.Helper()
	l := &Lab{t: t, dir: t.TempDir(), runs: make(chan func())}
	for range 100 {
		l.net = [2]byte{byte(64 + rand.IntN(190)), byte(1 + rand.IntN(254))}
		lock, err := net.Listen("tcp", netip.AddrPortFrom(l.Addr(hostLock), 4000).String())
		if err == nil {
			l.lock = lock
			break
		}
	}
	if l.lock == nil {
		t.Fatal("no free loopback network for the lab")
	}
	go l.starter()
	t.Cleanup(l.close)
	return l
}

// starter starts the lab's programs on a thread of its own: a program dies with the thread that started it (Pdeathsig),
// and threads end with goroutines that locked them, such as those of the load generators.
func (l *Lab) starter() {
	runtime.LockOSThread() // for good: the thread ends with the lab
	for f := range l.runs {
		f()
	}
}

// Addr is the lab's address with that last octet.
func (l *Lab) Addr(host byte) netip.Addr {
	return netip.AddrFrom4([4]byte{127, l.net[0], l.net[1], host})
}

// Dir is the lab's directory.
func (l *Lab) Dir() string { return l.dir }

// close ends every program and shows what they said if the test has failed.
func (l *Lab) close() {
	l.mu.Lock()
	processes := l.processes
	l.mu.Unlock()
	for _, p := range processes {
		p.Kill()
	}
	if l.t.Failed() {
		for _, p := range processes {
			l.t.Logf("last lines of %s:\n%s", p.name, p.Tail(40))
		}
	}
	close(l.runs)
	_ = l.lock.Close()
}

// write writes a file of the lab and gives its path.
func (l *Lab) write(name, text string) string {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// Program finds an installed program, in /usr/sbin too; a missing one fails the test.
func (l *Lab) Program(name string) string {
	l.t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	l.t.Fatalf("%s is not installed (the end-to-end tests need the programs that .ci/run installs)", name)
	return ""
}

// Output runs a client program to its end, for at most a minute, and gives what it printed and its exit code.
func (l *Lab) Output(stdin, name string, args ...string) (string, int) {
	l.t.Helper()
	p := l.prepare(name, l.Program(name), args...)
	p.stdin = stdin
	p.start()
	code := p.Wait(time.Minute)
	return p.Log(), code
}

// Eventually waits until ok, and fails the test with what it waited for after the patience.
func (l *Lab) Eventually(patience time.Duration, what string, ok func() bool) {
	l.t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			l.t.Fatalf("%s: not within %s", what, patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// answers says whether something answers datagrams on the address.
func answers(addr netip.AddrPort, question []byte) bool {
	conn, err := net.Dial("udp", addr.String())
	if err != nil {
		return false
	}
	defer conn.Close()
	if _, err := conn.Write(question); err != nil {
		return false
	}
	if err := conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		return false
	}
	var buf [4096]byte
	_, err = conn.Read(buf[:])
	return err == nil
}

// numbered is a program's name with its number.
func numbered(name string, n int) string { return fmt.Sprintf("%s-%d", name, n) }
