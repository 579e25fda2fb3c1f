package ledger

import (
	"math/bits"
	"time"
)

// Level is one row of the classical table of availability.
type Level struct {
	Number  int
	Percent string
	Of      string // what is usually built to it; empty between two such
	oneIn   uint64 // at most one part of this many is down
}

// Levels is the table, lowest first. The slice is the caller's.
func Levels() []Level {
	return []Level{
		{1, "90", "personal computers", 10},
		{2, "98", "", 50},
		{3, "99", "access systems", 100},
		{4, "99.8", "", 500},
		{5, "99.9", "access providers", 1_000},
		{6, "99.99", "data centres and business systems", 10_000},
		{7, "99.999", "telephony and banks", 100_000},
		{8, "99.9999", "military defence", 1_000_000},
	}
}

// levelOf is the highest level whose per cent is reached, 0 below the first.
func levelOf(up, down time.Duration) int {
	reached := 0
	for _, l := range Levels() {
		if reaches(up, down, l.oneIn) {
			reached = l.Number
		}
	}
	return reached
}

// ninesOf is how many nines the availability begins with, at most 9: 4 for 99.99 %.
func ninesOf(up, down time.Duration) int {
	n, oneIn := 0, uint64(10)
	for n < 9 && reaches(up, down, oneIn) {
		n, oneIn = n+1, oneIn*10
	}
	return n
}

// reaches tells whether at most one part in oneIn was down, exactly: a float has no
// 99.9999 %.
func reaches(up, down time.Duration, oneIn uint64) bool {
	high, low := bits.Mul64(uint64(down), oneIn) //nolint:gosec // not negative
	return high == 0 && low <= uint64(up)+uint64(down)
}
