// Package demo is the whole system from one binary: simulated resolvers and
// RADIUS servers, two sites of real nodes (`sereno run`, each a process of its
// own), a BGP router (GoBGP, a process of its own too), clients that check
// every answer, and the story of an outage.
//
// It needs no root, no other program, no file and no network: everything is on
// loopback addresses that it picks, and in a temporary directory that it
// removes.
//
// The clients are where anycast would put them: they ask the site that the
// router's best route leads to, and move when it moves. As every stub resolver
// and every NAS does, they ask again when no answer comes. A request is lost
// when no right answer came to any of its tries, wherever they went. Nothing
// is left out of the count.
package demo
