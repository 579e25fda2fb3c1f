package radiusfront

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sereno/proxy/pool"
	"sereno/proxy/radwire"
)

// What tells a child of TestR40KilledAtRandomMoments what it is.
const (
	crashDir     = "SERENO_CRASH_DIR"
	crashListen  = "SERENO_CRASH_LISTEN"
	crashBackend = "SERENO_CRASH_BACKEND"
	crashAck     = "SERENO_CRASH_ACK"
	crashKills   = "SERENO_CRASH_KILLS" // of the test: how often it kills; default 25
)

// crashChild is a front in a process of its own, until it is killed or its
// standard input ends.
func crashChild() error {
	var cfg Config
	cfg.SetDefaults()
	cfg.Name, cfg.Pool, cfg.Acct = "pppoe", "main", []string{os.Getenv(crashListen)}
	cfg.Clients = []ClientConfig{testClient("nas", "127.0.0.1")}
	cfg.Accounting.Ack = os.Getenv(crashAck)
	var pc pool.Config
	pc.SetDefaults("radius")
	pc.Name, pc.Protocol, pc.AttemptTimeout = "main", "radius", 100*time.Millisecond
	var bc pool.BackendConfig
	bc.SetDefaults()
	addr := netip.MustParseAddrPort(os.Getenv(crashBackend))
	bc.Name, bc.Address = "b0", addr.Addr().String()
	p, err := pool.New(pc, "acct", []pool.Member{{Config: bc, Addr: addr}})
	if err != nil {
		return err
	}
	s, err := New(Options{
		Config: cfg, Node: "test", StateDir: os.Getenv(crashDir), Workers: 2, ProbeSecret: radwire.NewProbeSecret(),
		Pools: map[string]RolePools{"main": {Acct: p, Backends: map[string]BackendConfig{"b0": {Secret: backendSecret}}}},
	})
	if err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	return s.Close(ctx)
}

// child is a running crashChild.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

func startChild(t *testing.T, env ...string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("a front did not start: %q %v", line, err)
	}
	return c
}

func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait() // "signal: killed"
	_ = c.in.Close() // its other end is gone
}

// booked is one record by its session and number.
type booked struct{ session, n uint32 }

func crashRecord(id byte, r booked) []byte {
	return acctOf(id, string(binary.BigEndian.AppendUint32(nil, r.session)), acctInterim, avp(42, string(binary.BigEndian.AppendUint32(nil, r.n))))
}

// keepsSending is a NAS: one record after the other, each until it is
// acknowledged. It notes what was.
func keepsSending(first uint32, to string, stop *atomic.Bool, acknowledged func(booked)) error {
	conn, err := net.Dial("udp", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	buf := make([]byte, 4096)
	for i := uint32(0); !stop.Load(); i++ {
		r := booked{session: first + i%20, n: i / 20}
		req := crashRecord(byte(i), r)
		for acked := false; !acked && !stop.Load(); {
			_, _ = conn.Write(req) // refused while the front is dead
			if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				return err
			}
			if n, err := conn.Read(buf); err == nil && n >= radwire.HeaderLen && buf[1] == req[1] {
				auth := radwire.PacketAuthenticator(req)
				acked = radwire.NewSecret([]byte(nasSecret)).VerifyResponse(buf[:n], &auth)
			}
		}
		if !stop.Load() {
			acknowledged(r)
		}
	}
	return nil
}

// TestR40KilledAtRandomMoments: SIGKILL again and again under load, with a backend
// that is silent half of the time. Every acknowledged record reaches it, in order
// for each session.
func TestR40KilledAtRandomMoments(t *testing.T) {
	kills := 25
	if v, err := strconv.Atoi(os.Getenv(crashKills)); err == nil {
		kills = v
	}
	for _, ack := range []string{"after-spool", "after-backend"} {
		t.Run(ack, func(t *testing.T) { killRandomly(t, ack, kills) })
	}
}

func killRandomly(t *testing.T, ack string, kills int) {
	var answers atomic.Bool
	backend := newServer(t, func(r received) []byte {
		if !answers.Load() {
			return nil
		}
		return accept(r)
	})
	free := listenerOf(t)
	env := []string{crashDir + "=" + t.TempDir(), crashListen + "=" + free, crashBackend + "=" + backend.addr().String(), crashAck + "=" + ack}

	var mu sync.Mutex
	acked := map[booked]bool{}
	var stop atomic.Bool
	var load sync.WaitGroup
	c := startChild(t, env...)
	for i := range uint32(4) {
		load.Go(func() {
			if err := keepsSending(1000*i, free, &stop, func(r booked) { mu.Lock(); acked[r] = true; mu.Unlock() }); err != nil {
				t.Error(err)
			}
		})
	}
	rng := rand.New(rand.NewPCG(uint64(kills), 7))
	for i := range kills {
		answers.Store(i%4 >= 2)
		time.Sleep(time.Duration(20+rng.IntN(250)) * time.Millisecond) // a random moment
		c.kill(t)
		c = startChild(t, env...)
	}
	stop.Store(true)
	load.Wait()
	answers.Store(true)

	missing := 0
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if missing = len(acked) - delivered(t, backend, acked); missing == 0 || time.Now().After(deadline) {
			break
		}
	}
	if err := c.in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if missing > 0 {
		t.Fatalf("%d of %d acknowledged records never arrived", missing, len(acked))
	}
	next, copies := map[uint32]uint32{}, 0
	for _, b := range arrivals(t, backend) {
		switch n := next[b.session]; {
		case b.n == n:
			next[b.session]++
		case b.n < n:
			copies++
		default:
			t.Fatalf("session %d: record %d came before record %d", b.session, b.n, n)
		}
	}
	t.Logf("%d kills: %d records acknowledged, all arrived in order; %d copies more (unanswered by the backend, or its answer not noted before a kill)", kills, len(acked), copies)
	if len(acked) < 10*kills {
		t.Errorf("only %d records: this proves little", len(acked))
	}
}

// listenerOf is an address that nobody listens on.
func listenerOf(t *testing.T) string {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.LocalAddr().String()
}

// arrivals is what the backend got, in order.
func arrivals(t *testing.T, s *server) []booked {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]booked, 0, len(s.got))
	for _, r := range s.got {
		session, n := attr(t, r.raw, radwire.AttrAcctSessionID), attr(t, r.raw, 42)
		out = append(out, booked{binary.BigEndian.Uint32(session), binary.BigEndian.Uint32(n)})
	}
	return out
}

// delivered counts the acknowledged records that the backend has.
func delivered(t *testing.T, s *server, acked map[booked]bool) int {
	has := map[booked]bool{}
	for _, b := range arrivals(t, s) {
		if acked[b] {
			has[b] = true
		}
	}
	return len(has)
}
