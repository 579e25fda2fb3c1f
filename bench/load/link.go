package load

import (
	"net/netip"
	"time"
)

// maxMessage bounds a request, in octets.
const maxMessage = 4096

// link moves messages between the generator and its targets. Connections are numbered as they were given. Its methods
// are called on the generator's goroutine only.
type link interface {
	// next gives room for one message of at most maxMessage octets to that connection; commit queues its first n octets.
	next(conn int) []byte
	commit(conn, n int)
	// flush sends what is queued.
	flush(now time.Duration)
	// wait sleeps that long, or, if arrivals are told, until something arrived.
	wait(d time.Duration, arrivals bool)
	// collect hands on what has arrived (receiver.receive).
	collect()
	close() error
}

// receiver takes what a link collects. Links may call it from any goroutine.
type receiver interface {
	// receive takes messages that arrived on one connection, each at its own time since the generator's begin. They
	// are the link's and valid until receive returns.
	receive(conn int, messages []arrival)
	// refused counts an error that the kernel reported on a socket, or a connection that failed.
	refused()
}

// arrival is one message and when the kernel got it.
type arrival struct {
	data []byte
	at   time.Duration
}

// endpoint is one connection: where it goes to, and from which address; the zero address is the system's choice.
type endpoint struct {
	remote netip.AddrPort
	source netip.Addr
}
