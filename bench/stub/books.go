package stub

import (
	"maps"
	"sync"
)

// Acct-Status-Type values (RFC 2866 §5.1).
const (
	AcctStart   = 1
	AcctStop    = 2
	AcctInterim = 3
)

// maxBooked bounds the records that Books remember one by one.
const maxBooked = 2_000_000

// Record names one accounting record of one session.
type Record struct {
	Session string // Acct-Session-Id
	Status  uint32 // Acct-Status-Type
}

// Books remember which accounting records arrived, and how often. Several
// servers may share them, as servers share a database. The zero value is not
// ready; use NewBooks.
type Books struct {
	mu       sync.Mutex
	records  map[Record]uint32
	arrived  uint64
	overflow uint64
}

// NewBooks makes empty books.
func NewBooks() *Books { return &Books{records: map[Record]uint32{}} }

func (b *Books) add(session []byte, status uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arrived++
	if len(b.records) >= maxBooked {
		b.overflow++
		return
	}
	b.records[Record{string(session), status}]++
}

// Count says how often the record arrived.
func (b *Books) Count(r Record) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int(b.records[r])
}

// Totals gives how many records arrived, how many different ones, and how many were not remembered one by one
// because there were too many.
func (b *Books) Totals() (arrived, distinct, overflow uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.arrived, uint64(len(b.records)), b.overflow
}

// Records gives a copy of what arrived, and how often.
func (b *Books) Records() map[Record]uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.records)
}
