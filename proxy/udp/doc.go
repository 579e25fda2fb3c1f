// Package udp moves datagrams between sockets and one worker, in batches.
package udp
