// Package admin is how people and programs look at a running node and change it:
// the HTTP API over a Unix socket and over TCP, the Prometheus metrics, and the
// stream of events.
//
// What it promises:
//
//   - The JSON documents, metric names and status codes are a contract with outside
//     programs: lists are never null, times are RFC 3339 in UTC, durations are
//     seconds as numbers. They may be added to, not changed.
//   - Who reaches the Unix socket has full control; its mode is 0660 from the moment
//     it exists. Over TCP everybody reads, and changes need the bearer token. A web
//     page of somebody else can do neither (Host and Origin are checked).
//   - Every resource that a client can take is bounded: connections, time for the
//     header, the body and the answer, subscribers of the event stream and what is
//     buffered for them. A client that never reads costs itself its connection.
//   - One scrape shows one snapshot, so that the counters in it balance exactly.
//
// The package knows nothing of DNS, RADIUS or BGP: it is given a Node to ask.
package admin
