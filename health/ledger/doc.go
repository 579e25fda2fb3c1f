// Package ledger keeps the books of availability: when each service and each
// backend was up, degraded, drained or down, when nobody knows because the node
// was not running, and how many of its requests were answered well (A30, A31).
//
// Its parts, in the order in which the books are kept and read:
//
//   - types.go: what is kept books on, and what is told about it.
//   - clock.go: the time that the books go by.
//   - ledger.go: a Ledger takes in what is told to it.
//   - open.go, guard.go: the file, and what is done about one that is not ours
//     or not whole.
//   - store.go, prune.go: how it lies in the file, and what is forgotten when.
//   - spans.go, report.go, course.go, level.go: what the books say about a window of time.
//
// What it promises: what Observe and Beat returned without an error for is on
// disk and survives kill -9. The times in the five states add up to the window,
// exactly. A time in which the node did not run, stood still or was suspended is
// unknown, never up: a heartbeat says how far the books reach. A file that is
// torn, foreign or from the future is never written to and never lost: it is
// renamed, that is said, and new books are begun. While the disk takes nothing,
// the books are kept in memory and written when it does again. Memory and disk
// are bounded: see the constants in prune.go.
//
// The package starts no goroutine and has no clock: the caller tells the time.
package ledger
