// Package drive loads a server from one thread that never sleeps: it asks, it is the backends behind the server, and it
// measures. That is for comparisons of servers on one machine, where the load must cost little and always the same:
// package load is the generator that checks each answer to the last bit.
//
// With Window the loop is closed: so many requests are always under way, and the server is as busy as it can be. With
// Rate it is open: requests leave by the clock, and latency counts from when one was due.
//
// Datagrams of one length that follow each other between the same two sockets leave as one message, which the kernel cuts up
// (UDP_SEGMENT), and come as one to sockets that take them so (UDP_GRO): those of the load, of the backends, and of a server
// that asks for it. To any other they come one by one, cut up at the load's expense.
//
// Every reply is matched by socket and identifier and judged by its protocol. What was not answered within a second
// is lost; it is never sent again. Linux only.
package drive
