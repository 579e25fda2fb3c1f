package udp

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// lengths are of runs that can share a message, of some that are cut short, and of some that cannot.
var lengths = []int{40, 40, 40, 30, 40, 1, 50, 50, 1200, 1200, 7, 1201, 1201, 40, 40}

// datagram gives datagram i, told from the others and of that length if it can be.
func datagram(peer string, i, length int) string {
	s := fmt.Sprintf("%s %d ", peer, i)
	return s + strings.Repeat("x", max(0, length-len(s)))
}

// What is queued for several peers in turn reaches each whole and in order, from wildcard listeners and others, however
// many datagrams share a message.
func TestSegmentsReachTheirPeersInOrder(t *testing.T) {
	needIPv6(t)
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		t.Run(addr, func(t *testing.T) {
			g := newGroup(t, GroupConfig{Batch: 3 * len(lengths)})
			c, err := g.Listen(netip.MustParseAddrPort(addr), ListenConfig{Segment: true})
			if err != nil {
				t.Fatal(err)
			}
			if !c.segment {
				t.Fatal("this kernel does not cut up messages")
			}
			trigger := listen(t, g, "127.0.0.1:0")
			var peers []Dest
			known, messages := make(chan bool, 3), make(chan int, 1)
			run(t, g, &funcs{receive: func(from *Conn, in []Packet) {
				if from == c {
					for i := range in {
						peers = append(peers, in[i].Dest)
						known <- true
					}
					return
				}
				for i, n := range lengths {
					for k, d := range peers {
						c.Commit(copy(c.Next(), datagram(fmt.Sprint(k), i, n)), d)
					}
				}
				places := map[**slot]bool{}
				for i := range peers {
					places[c.queue.peers.place(&peers[i])] = true
				}
				if len(places) < len(peers) { // by chance; they are served, but not side by side
					messages <- 0
					return
				}
				messages <- g.loop.(*batched).io.fill(c)
			}})
			var clients []*net.UDPConn
			for range 3 {
				u := client(t, c.LocalAddr())
				clients = append(clients, u)
				send(t, u, "hello")
				wait(t, known, "the peer")
			}
			send(t, client(t, trigger.LocalAddr()), "go")
			if n, most := wait(t, messages, "what was queued"), 3*7; n > most {
				t.Errorf("%d messages for %d datagrams, more than %d", n, 3*len(lengths), most)
			}
			for i, n := range lengths {
				for k, u := range clients {
					if got, want := receive(t, u), datagram(fmt.Sprint(k), i, n); got != want {
						t.Fatalf("peer %d's datagram %d has %d bytes, %.20q; want %d, %.20q", k, i, len(got), got, len(want), want)
					}
				}
			}
			books(t, c, Stats{Received: 3, Sent: 3 * uint64(len(lengths))})
		})
	}
}

// Where the way out cannot cut up a message, its datagrams leave one by one, none lost, and so do all that follow.
func TestSegmentsWhereNothingIsCut(t *testing.T) {
	g := newGroup(t, GroupConfig{})
	at, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = at.Close() }()
	c, err := g.Dial(at.LocalAddr().(*net.UDPAddr).AddrPort(), netip.MustParseAddr("127.0.0.1"), ListenConfig{Segment: true})
	if err != nil {
		t.Fatal(err)
	}
	// Without checksums a message is refused that is to be cut up.
	if err := setInt(c.end.(*socket).fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1, "SO_NO_CHECK"); err != nil {
		t.Fatal(err)
	}
	trigger := listen(t, g, "127.0.0.1:0")
	run(t, g, &funcs{receive: func(from *Conn, _ []Packet) {
		for i := 0; from == trigger && i < len(lengths); i++ {
			c.Commit(copy(c.Next(), datagram("p", i, lengths[i])), Dest{})
		}
	}})
	for range 2 {
		send(t, client(t, trigger.LocalAddr()), "go")
		for i, n := range lengths {
			if got, want := receive(t, at), datagram("p", i, n); got != want {
				t.Fatalf("datagram %d is %.20q, want %.20q", i, got, want)
			}
		}
	}
	good := func(s Stats) bool { return s.Sent == 2*uint64(len(lengths)) && s.Drops == [NumDrops]uint64{} }
	if s := settled(c, good); !good(s) {
		t.Errorf("the books say %+v", s)
	}
}

// Many peers of one listener, more than are told apart, get what is theirs.
func TestSegmentsForMorePeersThanPlaces(t *testing.T) {
	var q queue
	q.peers = new(peers)
	const many = 3 * len(q.peers)
	for i := range 3 * many {
		q.push(&slot{n: i / many, dest: Dest{Peer: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:%d", i%many, 1000+i%many))}})
	}
	next := map[Dest]int{}
	for q.n > 0 {
		s := q.pop()
		if next[s.dest] != s.n {
			t.Fatalf("%v: datagram %d, want %d", s.dest, s.n, next[s.dest])
		}
		next[s.dest]++
	}
	if len(next) != many || q.head != nil || q.tail != nil {
		t.Errorf("%d peers, want %d; left %v", len(next), many, q)
	}
}
