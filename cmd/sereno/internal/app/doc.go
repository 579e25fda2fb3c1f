// Package app is a running node: it builds every part in order, wires them
// together, changes them in a reload, and takes them down again. It is the only
// package that knows all the others.
//
// The files follow a node's life: run.go (start, signals, the end), node.go (what
// a node is made of), build.go (what the configuration means to each part),
// events.go (verdicts on their way to log, stream and routes), watch.go
// (changes that nobody tells), drains.go and drain.go, reload.go with plan.go (what can be done) and apply.go (its steps and
// their undoing), status.go, metrics.go, stop.go.
//
// What it promises:
//   - A start that fails leaves nothing open and says what to change.
//   - Nothing is announced before every required service was healthy.
//   - A reload is applied whole or not at all; what it does not name is not touched.
//   - A stop takes the routes away first, and answers until they are gone.
package app
