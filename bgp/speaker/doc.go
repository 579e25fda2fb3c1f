// Package speaker is the body of the BGP processes: the hidden command
// `sereno bgp-speaker`, of which a node runs one for each neighbor, and the
// hidden command `sereno bgp-router`, the router of the demonstration.
//
// It is the only place that knows GoBGP, and GoBGP runs only in processes of
// their own: one malformed message can make it panic, and in a busy process its
// timers starve.
//
// What a speaker promises (main.go, lease.go, reconcile.go, gobgp.go):
//   - It lives on a lease. When the node has not stood for the desired set for
//     the lease, or the socket closes, it withdraws everything and ends.
//   - It sends only the prefixes that the node gave it, by an export policy
//     too, and neither uses nor passes on anything that the neighbor sends.
//   - Every second it compares what is desired with what is sent, mends what
//     differs, and tells.
//   - No call of GoBGP can hold it up: a call that misses its deadline ends the
//     process, and with it the session.
package speaker
