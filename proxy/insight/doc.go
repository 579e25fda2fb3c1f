// Package insight is what the fronts have in common for whoever looks at single requests: log lines that are counted
// when they come again and again, panics that were caught, who asks most, and live traces.
//
// What it promises:
//
//   - Memory is bounded whatever the packets say: kinds of lines, places of panics, counters, traces and their queues
//     each have a limit.
//   - What nobody looks at costs nothing: a worker loads one pointer for each batch to see whether somebody does.
//   - Nobody who looks can slow the packets down: a reader that is too slow loses lines, which are counted and said.
//
// It knows nothing of DNS and RADIUS: what a name or a packet looks like is the front's to say.
package insight
