// Package bgp decides which anycast prefixes this node announces and keeps
// one BGP speaker for each neighbor that announces them.
//
// The way through it, in the order of the files: a configuration is checked
// (validate.go); Decide, a pure function, says for each anycast entry whether
// its prefixes are announced, demoted or withdrawn and why, in one word of a
// closed list (decide.go, route.go); an engine gives that function its memory:
// flaps, drains, pauses (engine.go, memory.go); the Controller puts a clock and
// a lock around the engine and hands the whole desired set to an Announcer
// (controller.go, pause.go, traffic.go, stop.go, reload.go); Speakers is the
// Announcer that runs one child process for each neighbor and holds it on a
// lease (speakers.go, process.go, command.go, frame.go). Beside that way stand
// Explain (explain.go) and Addresses, which puts anycast addresses on
// interfaces (addresses.go).
//
// What it promises:
//   - Nothing is announced before every required service was healthy.
//   - A withdrawal leaves in the call that brings the bad news; nothing waits
//     for a disk, a timer or another neighbor first.
//   - A route lives only as long as this process proves that it lives: a
//     speaker that hears nothing for the lease withdraws everything and ends.
//   - A child that dies, hangs or crashes costs its own session and no more.
//
// The package knows nothing of BGP's messages: those are in bgp/speaker, the
// body of the child process.
package bgp
