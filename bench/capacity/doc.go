// Package capacity measures what a server, or a front before servers, can do: at a fixed rate, along a ramp, or in a
// search for the knee, the highest rate at which loss and the 99th percentile of the latency stay within bounds.
//
// It drives a generator of package load, which alone touches the network, through windows of constant rate. Between the
// windows of a ramp or a search nothing is sent until every request is answered or lost, so that each window's books are
// exact: what a window breaks is not held against the next. A window in which the generator itself was late says nothing
// about the server and is never held against it; it is measured again, and if that does not help, the report says that
// the generator's machine was the limit.
//
// A Report holds everything: as a table, as JSON, and as one HTML page with charts that needs nothing else.
package capacity
