// Package compare measures sereno beside the programs that are used in its place, on one machine and in one run: dnsdist,
// Unbound and CoreDNS for DNS, FreeRADIUS and radsecproxy for RADIUS, and a bare echo, which no server can beat.
//
// Each program runs in the configuration that is best for it (conf) on one core; the load and the backends are one
// thread on another (package drive). Rounds are interleaved: whatever else the machine does meets all of them. The figures
// are medians over the rounds, and ratios are medians of the rounds' ratios. Linux only.
package compare
