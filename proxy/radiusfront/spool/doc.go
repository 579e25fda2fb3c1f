// Package spool keeps records on disk until somebody has taken them: RADIUS
// accounting while no server answers.
//
// It promises:
//   - Append returns, and Submit's callback gets nil, only when the record is
//     synced (R40). All that waits at the same moment shares one sync.
//   - Records of one session are delivered in the order in which they came
//     (Record.Came; those of an earlier process: in which they were submitted),
//     one at a time; different sessions do not wait for one another (R41). A
//     record stays until Done, Cancel or Drop; one that is set aside stays too,
//     out of its session's way. One that comes late goes before nothing that is
//     on its way.
//   - Nothing is merged or evicted (R43), unless Coalesce is on. What is near
//     the bound is not admitted: above 90 % of MaxBytes no Interim, above 95 %
//     no Start, above 100 % nothing.
//   - A file that was cut or of which bits flipped loses the records that were
//     hit and no other (R44). They are counted and kept in damaged-*.bin, which
//     nobody deletes and which is not in MaxBytes; together they take no more than that.
//     A record for which the disk gives an error instead of bytes is asked for again, and
//     is only given up as damaged after ten minutes.
//   - A record's number is never used again, also after a restart of an empty spool, unless a
//     disk that takes nothing had to be emptied.
//   - A crash at any byte loses nothing that was acknowledged. A record that was
//     delivered within 50 ms before it, or during the sync that was under way, may
//     be delivered again; after a power loss, within about a second. Who reads the
//     files (Read) is told up to when deliveries are noted, and keeps no node that
//     starts from its spool.
//   - A disk that fails or is full is told once, refuses records in the
//     meantime, and is tried again every second. What is stored is delivered on.
//     One that has not answered for two seconds refuses records until it does.
//   - Times do not jump: how long a record waited is by the monotonic clock,
//     and for what an earlier process stored by the wall clock at Open, never
//     below zero.
//
// On disk: segments of a sixty-fourth of MaxBytes (16 KiB to 8 MiB) with frames
// (frame.go) of records and of notes that records are over. The oldest segments
// go when nothing in them is left; where garbage passes an eighth of MaxBytes,
// the oldest segment's records are copied to the end. So the directory takes
// MaxBytes and at most a copy's step more. In memory a record takes some 120
// bytes, a session some 150 more, whatever the records' size.
//
// Why not bbolt: BenchmarkR40Keepers, side by side (2 cores of a cloud machine
// on which others worked, ext4; records of 200 bytes, in bbolt in a bucket by
// their number):
//
//	                                          bbolt      segments
//	stored, 64 under one sync                98,000/s    115,000/s
//	stored, 512 under one sync              223,000/s    235,000/s
//	removed (bbolt: 512 under one sync,
//	segments: noted every 50 ms, unsynced)  380,000/s    576,000/s
//	a million records, open                     610 ms     3,500 ms
//	a million records, size                    455 MiB      233 MiB
//
// Both are far above the 5,000 a second that R40 and R41 need. What decides is
// damage: bbolt is one tree, of which a flipped bit in an inner page takes a
// whole branch along, and its file never shrinks; segments lose one record, and
// are a few hundred lines that say what is on disk byte by byte. Opening takes
// longer because every byte is verified.
package spool
