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
	"sereno/proxy/radiusfront/spool"
	"sereno/proxy/radwire"
)

// What tells a child of TestR40KilledAtRandomMoments what it is.
const (
	crashDir     = "SERENO_CRASH_DIR"
	crashListen  = "SERENO_CRASH_LISTEN"
	crashBackend = "SERENO_CRASH_BACKEND"
	crashAck     = "SERENO_CRASH_ACK"
	crashLife    = "SERENO_CRASH_LIFE"  // address that this process sends from, which tells the backend whose a record is
	crashKills   = "SERENO_CRASH_KILLS" // of the test: how often it kills; default 25, under SERENO_E2E=full 300
)

// crashAttempt is its attempt_timeout.
const crashAttempt = 100 * time.Millisecond

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
	pc.Name, pc.Protocol, pc.AttemptTimeout = "main", "radius", crashAttempt
	var bc pool.BackendConfig
	bc.SetDefaults()
	addr := netip.MustParseAddrPort(os.Getenv(crashBackend))
	bc.Name, bc.Address, bc.Source = "b0", addr.Addr().String(), os.Getenv(crashLife)
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

// keepsSending is a NAS with some sessions: one record after the other, each until it is acknowledged. It books what it
// does.
func keepsSending(first, sessions uint32, to string, stop *atomic.Bool, books *nasBooks) error {
	conn, err := net.Dial("udp", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	buf := make([]byte, 4096)
	for i := uint32(0); !stop.Load(); i++ {
		r := booked{session: first + i%sessions, n: i / sessions}
		req := crashRecord(byte(i), r)
		for acked := false; !acked && !stop.Load(); {
			books.sending(r)
			_, _ = conn.Write(req) // refused while the front is dead
			books.sent(r)
			if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				return err
			}
			if n, err := conn.Read(buf); err == nil && n >= radwire.HeaderLen && buf[1] == req[1] {
				auth := radwire.PacketAuthenticator(req)
				acked = radwire.NewSecret([]byte(nasSecret)).VerifyResponse(buf[:n], &auth)
			}
			if acked {
				books.acknowledged(r)
			}
		}
	}
	return nil
}

func crashRecord(id byte, r booked) []byte {
	return acctOf(id, string(binary.BigEndian.AppendUint32(nil, r.session)), acctInterim, avp(42, string(binary.BigEndian.AppendUint32(nil, r.n))))
}

// bookedOf reads what crashRecord wrote.
func bookedOf(t testing.TB, raw []byte) booked {
	t.Helper()
	return booked{session: binary.BigEndian.Uint32(attr(t, raw, radwire.AttrAcctSessionID)), n: binary.BigEndian.Uint32(attr(t, raw, 42))}
}

// TestR40KilledAtRandomMoments: SIGKILL again and again under load, with a backend
// that is silent half of the time. Every acknowledged record reaches it, in order
// for each session, and every copy that it gets has a cause that the books and the
// files show.
func TestR40KilledAtRandomMoments(t *testing.T) {
	kills := 25
	if os.Getenv("SERENO_E2E") == "full" {
		kills = 300
	}
	if v, err := strconv.Atoi(os.Getenv(crashKills)); err == nil {
		kills = v
	}
	for _, ack := range []string{"after-spool", "after-backend"} {
		t.Run(ack, func(t *testing.T) {
			t.Parallel()
			killRandomly(t, ack, kills)
		})
	}
}

// lifeOf is the address that the nth process sends from, and lifeNumber its inverse.
func lifeOf(n int) string { return fmt.Sprintf("127.1.%d.%d", n/250, 1+n%250) }

func lifeNumber(a netip.Addr) int {
	b := a.Unmap().As4()
	return int(b[2])*250 + int(b[3]) - 1
}

func killRandomly(t *testing.T, ack string, kills int) {
	var answers atomic.Bool
	var arrived backendBooks
	backend := newServer(t, func(r received) []byte {
		answer := answers.Load()
		arrived.add(t, r, answer)
		if !answer {
			return nil
		}
		return accept(r)
	})
	free, dir := listenerOf(t), t.TempDir()
	env := []string{crashDir + "=" + dir, crashListen + "=" + free, crashBackend + "=" + backend.addr().String(), crashAck + "=" + ack}

	books := newNASBooks()
	var stop atomic.Bool
	var load sync.WaitGroup
	c := startChild(t, append(env, crashLife+"="+lifeOf(0))...)
	ready := []time.Time{time.Now()}
	sessions := uint32(20)
	if ack == "after-backend" {
		sessions = 1 // once a record of it is in the spool, the others join it
	}
	for i := range uint32(4) {
		load.Go(func() {
			if err := keepsSending(1000*i, sessions, free, &stop, books); err != nil {
				t.Error(err)
			}
		})
	}
	rng := rand.New(rand.NewPCG(uint64(kills), 7))
	var deaths []death
	for i := range kills {
		answers.Store(i%4 >= 2)
		moment := time.Duration(20+rng.IntN(250)) * time.Millisecond
		if i%8 == 7 {
			moment += 700 * time.Millisecond // long enough that most of what is delivered is noted
		}
		time.Sleep(moment)
		alive := time.Now()
		c.kill(t)
		deaths = append(deaths, leftBehind(t, alive, spoolDir(dir, "pppoe")))
		books.life.Store(int64(i + 1))
		c = startChild(t, append(env, crashLife+"="+lifeOf(i+1))...)
		ready = append(ready, time.Now())
	}
	stop.Store(true)
	load.Wait()
	answers.Store(true)

	acked := books.acked()
	missing := 0
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if missing = arrived.missing(acked); missing == 0 || time.Now().After(deadline) {
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
	j := newJudge(t, ack, arrived.all(), books, deaths, ready)
	j.judge()
	t.Logf("%d kills: %d records acknowledged, all arrived in order of their sessions; %s", kills, len(acked), j)
	if len(acked) < 10*kills || j.held == 0 || ack == "after-spool" && j.held < kills {
		t.Errorf("only %d records, and %d that had to be noted at a death: this proves little", len(acked), j.held)
	}
}

// death is what a process left behind when it was killed.
type death struct {
	alive time.Time      // it lived until then at least
	noted time.Time      // the newest note in its files: what was over before stands in it or in one before it
	left  map[booked]int // the records that its files have for the next one, how often each
}

func leftBehind(t *testing.T, alive time.Time, dir string) death {
	t.Helper()
	files, err := spool.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := death{alive: alive, noted: files.Noted, left: map[booked]int{}}
	err = files.Walk(0, false, func(_ spool.Info, data []byte, err error) bool {
		if err != nil {
			t.Error(err)
			return true
		}
		rec, err := ReadSpooled(data)
		if err != nil {
			t.Error(err)
			return true
		}
		d.left[bookedOf(t, rec.Packet)]++
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	return d
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
