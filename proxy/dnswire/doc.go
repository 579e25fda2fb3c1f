// Package dnswire reads and writes DNS messages as bytes (RFC 1035, 6891): the
// header, one question, the places of TTLs, the OPT record, and the few messages
// that a proxy makes itself (errors, truncated answers, its own probe).
//
// It promises:
//   - pure functions: no I/O, no clocks, no goroutines, no shared state;
//   - no allocation in anything that a query or an answer passes through; slices
//     that must grow belong to the caller and are reused;
//   - any input is safe: every read is bounded, a compression pointer may only
//     point backwards, and the jumps of one name are capped;
//   - nothing that it does not understand is changed: RDATA, unknown types and
//     classes pass byte for byte (RFC 3597, 5625).
//
// All values may be used from several goroutines as long as nobody writes to the
// message meanwhile.
package dnswire
