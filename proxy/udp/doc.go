// Package udp moves datagrams between sockets and workers, in batches, without an allocation for each.
//
// A worker is a Group: one goroutine, usually one for each core, that runs to completion. It owns its sockets, its
// buffers and the calls of its Handler, so nothing of that needs a lock. Listeners share their address with those of
// the other Groups (SO_REUSEPORT); the kernel shares the clients out between them.
//
// # A turn
//
//  1. The loop takes the ready sockets from epoll. If there is none, its thread waits there.
//  2. From each it reads one batch (recvmmsg) and gives it to Handler.Receive, which queues answers and queries with
//     Conn.Next and Conn.Commit on any Conn of the Group. With ListenConfig.Segment, what arrived as one message, or was
//     put together by the kernel or the network card on its way (UDP_GRO), is read as one, and given to Receive as the
//     datagrams that it was. A socket with more to read is ready again in the next turn, behind the others.
//  3. ErrorHandler.SocketError gets what the kernel holds against dialed sockets.
//  4. Handler.Flush is called.
//  5. What was queued is sent (sendmmsg). With ListenConfig.Segment, datagrams of one length to one peer are one message,
//     which the kernel or the network card cuts up (UDP_SEGMENT).
//
// When more than 100 ms have passed since the last turn, the process may have stood still after step 1: steps 1 and 2 are
// done again before the others, so that what came meanwhile is read before Handler.Flush lets time pass.
//
// After four full batches of datagrams, step 5 is done before step 2 goes on. A queue that is full is sent at once. If the
// kernel has no room for what a socket sends, its queue, at most one batch, waits for it; what comes on top is dropped
// and counted. The loop waits for no single socket.
//
// A socket that fills batch after batch is read in each turn without epoll, until it does not fill half of one.
//
// # Processors
//
// The runtime is not told of the calls that do not wait, and of the one that waits it takes notice only after a while.
// So a Group holds one of the runtime's processors (GOMAXPROCS) nearly always. A program should have one more of them
// than it has Groups, however many cores there are: else what its other goroutines do waits for up to 10 ms. After every
// 1,024 datagrams it gives way to them in any case.
//
// The plain path (GroupConfig.Plain, and every system but Linux) has a goroutine for each socket and one system call
// for each datagram. It calls the Handler under one lock, a turn for each datagram, so that a Handler cannot tell the
// difference. It keeps no queue: it waits up to 10 ms for room in the kernel. Wildcard listeners and KernelDrops need
// Linux; so does sharing the load between Groups: other kernels may give all datagrams to one of them.
//
// # Who owns what
//
//   - The batch and each Packet's Data belong to the Group. The Handler may read and write them until Receive returns.
//     A Dest is a value: it may be kept.
//   - The buffer of Next belongs to the Handler until Commit, or until the call of the Handler in which it was got
//     returns. After Commit it is the Group's. A Conn has buffers only while something is queued on it.
//   - What is given to WriteTo stays the caller's and is not kept.
//   - Next and Commit are for the Handler's calls alone, on Conns of its own Group. Everything else may be called from
//     any goroutine, at any time, and from the Handler.
//   - A Conn belongs to who opened it. Close of the Group closes all. A closed Conn swallows what is committed on it.
//
// # Counters
//
// Each datagram given to Commit or WriteTo is sent, dropped for one reason (Drop), or still queued. A datagram that was
// received and did not fit is dropped, never handed on cut off. What the kernel dropped before is KernelDrops.
package udp
