// Package health finds out which backends and which services can serve, and
// says so at once.
//
// Its parts, in the order in which evidence travels:
//
//   - probe_dns.go, probe_radius.go: one exchange with a backend, over the path
//     that traffic takes, its answer verified (A02).
//   - prober.go: when a backend is probed. Each has a goroutine of its own, so
//     that probes of different backends never wait for one another.
//   - backend.go: where the evidence of one backend meets: its probes, and what
//     the fronts report of real requests (Replied, Silent, Unreachable: A04).
//   - machine.go: the verdict on it, a pure state machine (A01, A03, A06).
//   - pause.go: notices that this process stood still, so that what looked bad
//     meanwhile is not held against the backends (A06).
//   - monitor.go: the set of all backends; changes are told once each and in order.
//   - service.go, services.go, selfprober.go, selfprobe.go: the verdicts on the
//     services, from their backends, their listeners and the self-probe (A07).
//   - validate.go: what its section of the configuration may say.
//
// What it promises: the death of a backend is known within
// fall × interval × 1.1 + timeout of health's configuration, or sooner through
// real traffic; a wrong verdict never takes the last backend out of use (that is
// the pool's part, A05); a change of a service is told within 50 ms of the
// change that causes it. Reports from the fronts' hot paths cost one atomic load
// when there is nothing to report.
package health
