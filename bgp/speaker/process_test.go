package speaker

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sereno/bgp"
)

// bareSpeaker is a speaker's process with the test as its node.
type bareSpeaker struct {
	t    *testing.T
	cmd  *exec.Cmd
	conn net.Conn
	out  bytes.Buffer
	done chan struct{}
}

func startSpeaker(t *testing.T) *bareSpeaker {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	s := &bareSpeaker{t: t, cmd: exec.Command("/proc/self/exe"), done: make(chan struct{})}
	s.conn, err = net.FileConn(ours)
	ours.Close()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Env, s.cmd.Stdin, s.cmd.Stderr = speakerCommand().Env, theirs, &s.out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	go func() {
		_ = s.cmd.Wait() // its code is what the test asks for
		close(s.done)
	}()
	t.Cleanup(func() {
		s.conn.Close()
		_ = s.cmd.Process.Kill() // it may have ended
		<-s.done
	})
	return s
}

func (s *bareSpeaker) order(o bgp.Order) {
	s.t.Helper()
	if err := bgp.WriteFrame(s.conn, o); err != nil {
		s.t.Fatal(err)
	}
}

func (s *bareSpeaker) session(r neighborRouter, length time.Duration) {
	s.t.Helper()
	s.order(bgp.Order{Kind: bgp.OrderSession, Stamp: int64(bgp.Uptime()), Session: &bgp.Session{Name: "core-1", LocalASN: 64512, RouterID: "10.0.0.2",
		Site: 1, Lease: length, Address: r.address().Addr(), ASN: 64500, Port: int(r.address().Port()), HoldTime: 9 * time.Second,
		ConnectRetry: time.Second, Family: bgp.IPv4, MaxReceived: 1000}})
}

// ends waits for the process's end and checks its code and last words.
func (s *bareSpeaker) ends(limit time.Duration, code int, words string) time.Duration {
	s.t.Helper()
	start := time.Now()
	select {
	case <-s.done:
	case <-time.After(limit):
		s.t.Fatalf("it lives on after %v", limit)
	}
	if got := s.cmd.ProcessState.ExitCode(); got != code || !strings.Contains(s.out.String(), words) {
		s.t.Errorf("exit code %d, words %q, want %d and %q", got, s.out.String(), code, words)
	}
	return time.Since(start)
}

var oneRoute = []bgp.Route{{Prefix: netip.MustParsePrefix(vip)}}

func TestA15SpeakerEndsWithItsNode(t *testing.T) {
	t.Parallel()
	r := startGoRouter(t, localRouter)
	s := startSpeaker(t)
	s.session(r, 10*time.Second)
	s.order(bgp.Order{Kind: bgp.OrderRoutes, Stamp: int64(bgp.Uptime()), Number: 1, Routes: oneRoute})
	eventually(t, 10*time.Second, "route", func() bool { return r.has(t, vip) != "" })
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if err := s.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(200 * time.Millisecond)
	if r.has(t, vip) == "" {
		t.Error("a signal to the group took the route away")
	}
	s.conn.Close()
	s.ends(5*time.Second, exitOrphan, "the node is gone") // long before its lease of 10 s is over
	eventually(t, 10*time.Second, "route gone", func() bool { return r.has(t, vip) == "" })
}

// TestA15OldStampsDoNotProlongTheLease: of a node that lies in the socket since before it stood still, or that is starved so
// that it sends and does not decide.
func TestA15OldStampsDoNotProlongTheLease(t *testing.T) {
	t.Parallel()
	r := startGoRouter(t, localRouter)
	s := startSpeaker(t)
	const length = 3 * time.Second
	s.session(r, length)
	s.order(bgp.Order{Kind: bgp.OrderRoutes, Stamp: int64(bgp.Uptime()), Number: 1, Routes: oneRoute})
	eventually(t, 10*time.Second, "route", func() bool {
		s.order(bgp.Order{Kind: bgp.OrderBeat, Stamp: int64(bgp.Uptime())})
		return r.has(t, vip) != ""
	})
	last := bgp.Uptime()
	go func() {
		for bgp.WriteFrame(s.conn, bgp.Order{Kind: bgp.OrderBeat, Stamp: int64(last)}) == nil {
			time.Sleep(50 * time.Millisecond)
		}
	}()
	lived := within(t, length+500*time.Millisecond, "the end of the lease", func() bool {
		select {
		case <-s.done:
			return true
		default:
			return false
		}
	})
	s.ends(time.Second, exitLease, "lease over")
	if lived < length-100*time.Millisecond {
		t.Errorf("it gave up after %v", lived)
	}
	eventually(t, 10*time.Second, "route gone", func() bool { return r.has(t, vip) == "" })
}

func TestSpeakerRefusesWhatANodeNeverSends(t *testing.T) {
	t.Parallel()
	r := startGoRouter(t, localRouter)
	now := func() int64 { return int64(bgp.Uptime()) }
	for name, tt := range map[string]struct {
		send  func(s *bareSpeaker)
		code  int
		words string
	}{
		"no session first": {func(s *bareSpeaker) { s.order(bgp.Order{Kind: bgp.OrderBeat, Stamp: now()}) }, exitFailed, `first order is "beat"`},
		"null routes": {func(s *bareSpeaker) {
			s.session(r, time.Minute)
			s.order(bgp.Order{Kind: bgp.OrderRoutes, Stamp: now(), Number: 1})
		}, exitOrphan, "without routes"},
		"another family": {func(s *bareSpeaker) {
			s.session(r, time.Minute)
			s.order(bgp.Order{Kind: bgp.OrderRoutes, Stamp: now(), Number: 1, Routes: []bgp.Route{{Prefix: netip.MustParsePrefix(vip6)}}})
		}, exitFailed, "on an ipv4 session"},
		"unknown order": {func(s *bareSpeaker) {
			s.session(r, time.Minute)
			s.order(bgp.Order{Kind: "dance", Stamp: now()})
		}, exitFailed, `order "dance"`},
		"garbage": {func(s *bareSpeaker) {
			if _, err := s.conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
				t.Error(err)
			}
		}, exitOrphan, "first order"},
		"close": {func(s *bareSpeaker) {
			s.session(r, time.Minute)
			s.order(bgp.Order{Kind: bgp.OrderClose, Stamp: now()})
		}, exitClosed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSpeaker(t)
			tt.send(s)
			s.ends(5*time.Second, tt.code, tt.words)
		})
	}
	t.Run("by hand", func(t *testing.T) {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = speakerCommand().Env
		out, err := cmd.CombinedOutput() // standard input is /dev/null
		if cmd.ProcessState.ExitCode() != exitUsage || !strings.Contains(string(out), "sereno run") {
			t.Errorf("%v: %s", err, out)
		}
	})
}
