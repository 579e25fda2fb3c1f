package drive

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// Datagrams that leave together arrive as what they were, in their order, connected or not, whatever their lengths.
func TestJoinedDatagrams(t *testing.T) {
	server := netip.MustParseAddrPort("127.0.79.9:5399")
	at, err := open(server, netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(at)
	from, err := open(netip.AddrPort{}, server)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(from)
	in := newInbox()
	lengths := []int{40, 40, 40, 30, 40, 1, 1, packetSize, packetSize, 7}
	datagram := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, lengths[i]) }
	check := func(fd int) {
		t.Helper()
		n, err := in.receive(fd)
		if n != len(lengths) || err != nil {
			t.Fatalf("%d datagrams, %v; want %d", n, err, len(lengths))
		}
		for i := range n {
			if !bytes.Equal(in.data(i), datagram(i)) {
				t.Errorf("datagram %d is %.20q", i, in.data(i))
			}
		}
	}

	there, back := newOutbox(false), newOutbox(true)
	for i := range lengths {
		there.commit(copy(there.next()[:packetSize], datagram(i)), nil)
	}
	if want := 4; there.full != want { // 40 40 40 30, 40 1, 1, and the others
		t.Errorf("%d messages, want %d", there.full, want)
	}
	if err := there.send(from); err != nil {
		t.Fatal(err)
	}
	check(at)
	for i := range lengths {
		back.commit(copy(back.next()[:packetSize], datagram(i)), in.from(i))
	}
	if err := back.send(at); err != nil {
		t.Fatal(err)
	}
	check(from)
}
