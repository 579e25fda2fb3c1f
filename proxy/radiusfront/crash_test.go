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
	"slices"
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
	crashLife    = "SERENO_CRASH_LIFE"  // address that this process sends from, which tells the backend whose a record is
	crashKills   = "SERENO_CRASH_KILLS" // of the test: how often it kills; default 25, under SERENO_E2E=full 300
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

// booked is one record by its session and number.
type booked struct{ session, n uint32 }

func crashRecord(id byte, r booked) []byte {
	return acctOf(id, string(binary.BigEndian.AppendUint32(nil, r.session)), acctInterim, avp(42, string(binary.BigEndian.AppendUint32(nil, r.n))))
}

// keepsSending is a NAS: one record after the other, each until it is
// acknowledged. It notes what was, and how often it sent each.
func keepsSending(first uint32, to string, stop *atomic.Bool, books *nasBooks) error {
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
			books.sending(r)
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
			books.acknowledged(r)
		}
	}
	return nil
}

// TestR40KilledAtRandomMoments: SIGKILL again and again under load, with a backend
// that is silent half of the time. Every acknowledged record reaches it, in order
// for each session.
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

// nasBooks are those of all NASes.
type nasBooks struct {
	mu    sync.Mutex
	acked map[booked]bool
	sends map[booked]int
}

func (b *nasBooks) sending(r booked) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sends[r]++
}

func (b *nasBooks) acknowledged(r booked) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.acked[r] = true
}

// lifeOf is the address that the nth process sends from.
func lifeOf(n int) string { return fmt.Sprintf("127.1.%d.%d", n/250, 1+n%250) }

// arrival is one record at the backend.
type arrival struct {
	booked
	life     string // of the process that sent it
	at       time.Time
	answered bool
}

// backendBooks are those of the backend, in the order of arrival.
type backendBooks struct {
	mu   sync.Mutex
	list []arrival
}

func (b *backendBooks) add(t *testing.T, r received, answered bool) {
	session, n := attr(t, r.raw, radwire.AttrAcctSessionID), attr(t, r.raw, 42)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, arrival{booked{binary.BigEndian.Uint32(session), binary.BigEndian.Uint32(n)}, r.from.Addr().Unmap().String(), time.Now(), answered})
}

// all is what has arrived until now: what the kernel still holds may go on arriving.
func (b *backendBooks) all() []arrival {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}

// missing counts the acknowledged records that the backend has not answered yet:
// what it gets and keeps silent about is not its own.
func (b *backendBooks) missing(acked map[booked]bool) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	has := map[booked]bool{}
	for _, a := range b.list {
		if a.answered && acked[a.booked] {
			has[a.booked] = true
		}
	}
	return len(acked) - len(has)
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
	free := listenerOf(t)
	env := []string{crashDir + "=" + t.TempDir(), crashListen + "=" + free, crashBackend + "=" + backend.addr().String(), crashAck + "=" + ack}

	books := &nasBooks{acked: map[booked]bool{}, sends: map[booked]int{}}
	var stop atomic.Bool
	var load sync.WaitGroup
	c := startChild(t, append(env, crashLife+"="+lifeOf(0))...)
	for i := range uint32(4) {
		load.Go(func() {
			if err := keepsSending(1000*i, free, &stop, books); err != nil {
				t.Error(err)
			}
		})
	}
	rng := rand.New(rand.NewPCG(uint64(kills), 7))
	died := map[string]time.Time{}
	for i := range kills {
		answers.Store(i%4 >= 2)
		moment := time.Duration(20+rng.IntN(250)) * time.Millisecond
		if i%8 == 7 {
			moment += 700 * time.Millisecond // long enough that most of what is delivered is noted
		}
		time.Sleep(moment)
		c.kill(t)
		died[lifeOf(i)] = time.Now()
		c = startChild(t, append(env, crashLife+"="+lifeOf(i+1))...)
	}
	stop.Store(true)
	load.Wait()
	answers.Store(true)

	missing := 0
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if missing = arrived.missing(books.acked); missing == 0 || time.Now().After(deadline) {
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
		t.Fatalf("%d of %d acknowledged records never arrived", missing, len(books.acked))
	}
	why := whyAgain(t, ack, arrived.all(), books, died)
	t.Logf("%d kills: %d records acknowledged, all arrived in order of their sessions; sent again: %d because no answer came, %d because a kill came before the answer was noted (%d of them answered more than 200 ms before), %d because the NAS repeated them, %d because the answer came too late",
		kills, len(books.acked), why.unanswered, why.killed, why.slow, why.repeated, why.late)
	if len(books.acked) < 10*kills {
		t.Errorf("only %d records: this proves little", len(books.acked))
	}
}

// inLife is a record as one process sends it.
type inLife struct {
	booked
	life string
}

// again is why copies came.
type again struct {
	unanswered, killed, repeated, late int
	slow                               int // of killed: answered longer before the kill than noteUsual
}

// noteUsual is how long a note takes by promise, and a sync of a disk that is not busy; how
// many took longer is told, and not judged: it is the machine's.
const noteUsual = 200 * time.Millisecond

// noteLost is how long before a kill an answer may have come whose note was not
// written: 50 ms by promise, and as long as the sync takes that is under way; disks
// that others keep busy take seconds.
const noteLost = 5 * time.Second

// whyAgain demands the order of each session and a reason for every copy.
func whyAgain(t *testing.T, ack string, list []arrival, books *nasBooks, died map[string]time.Time) (why again) {
	t.Helper()
	next, last, repeats := map[uint32]uint32{}, map[booked]arrival{}, map[inLife]int{}
	for _, a := range list {
		before, copied := last[a.booked]
		last[a.booked] = a
		switch {
		case !copied && a.n == next[a.session]:
			next[a.session]++
		case !copied:
			t.Fatalf("session %d: record %d came before record %d", a.session, a.n, next[a.session])
		case !before.answered:
			why.unanswered++
		case before.life != a.life && died[before.life].Sub(before.at) < noteLost:
			why.killed++
			if died[before.life].Sub(before.at) > noteUsual {
				why.slow++
			}
		case repeats[inLife{a.booked, a.life}] < books.sends[a.booked]-1:
			// The front stored it, was killed before it could say so, and stored it again: each
			// process that finds both delivers both.
			repeats[inLife{a.booked, a.life}]++
			why.repeated++
		case before.life == a.life && ack == "after-backend":
			// It was asked live, answered later than attempt_timeout, and meanwhile stored.
			why.late++
		default:
			t.Errorf("record %v was answered at %v and came again at %v, without a reason", a.booked, before.at, a.at)
		}
	}
	if why.late > 1+len(list)/1000 { // only a machine that stands still for 100 ms makes this backend late
		t.Errorf("%d of %d records were answered and sent again all the same", why.late, len(list))
	}
	return why
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
