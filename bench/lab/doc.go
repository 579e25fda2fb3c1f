// Package lab is a small provider on one machine: subscribers, a core of two
// routers (BIRD 2 and FRR), two or three sites, each with a node and its own
// resolvers (Unbound) and RADIUS servers (FreeRADIUS). All programs are the real
// ones, the node is the real binary, and the network between them is made of
// network namespaces and veth pairs.
//
//	     subscribers  (load, BIRD)
//	      │        │
//	   core-1 ── core-2        BIRD, FRR: AS 64500, iBGP
//	    │   ╲    ╱   │         eBGP, every node with both: a session for IPv4 and
//	    │     ╳      │         one for IPv6, with TCP MD5 and GTSM
//	  node-1      node-2       sereno: AS 64512
//	    │            │
//	servers-1    servers-2     2 Unbound, 2 FreeRADIUS each
//
// A scenario breaks something while load from the subscribers goes on, and
// says how long each step took, as seen at the routers, and what was lost.
//
// A soak (Soak) is the same laboratory of two sites, in which something breaks
// at random again and again: the events, and what clients may notice of each,
// are in soak_events.go.
//
// A run is alone: its process is the first of PID, mount and network
// namespaces of its own, and every other namespace and process is made inside
// these. Nothing has a way out, nothing is left on the host, and all of it
// ends with that process, however it ends. Root is needed.
package lab
