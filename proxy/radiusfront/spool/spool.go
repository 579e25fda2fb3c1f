package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Class is what a record is about; it decides until when it is admitted (R43).
type Class uint8

// The classes.
const (
	Interim Class = iota // admitted below 90 % of MaxBytes
	Start                // below 95 %
	Stop                 // to the end
	numClasses
)

// String is the class as people call it.
func (c Class) String() string {
	switch c {
	case Interim:
		return "interim"
	case Start:
		return "start"
	case Stop:
		return "stop"
	}
	return "unknown"
}

// limit is the share of MaxBytes in percent up to which a class is admitted.
func (c Class) limit() int64 {
	switch c {
	case Interim:
		return 90
	case Start:
		return 95
	}
	return 100
}

// Why a record is not taken.
var (
	ErrFull   = errors.New("the spool is full")
	ErrClass  = errors.New("the spool has no room left for records of this class")
	ErrBusy   = errors.New("the disk does not keep up")
	ErrClosed = errors.New("the spool is closed")
	ErrHangs  = errors.New("the disk has not answered for more than two seconds")
	ErrSize   = errors.New("the record is empty or longer than 65536 bytes")
)

const (
	// noteSize is kept free for each record: what noting its end takes.
	noteSize = 8 + 2
	// maxPending bounds what waits for the disk, in bytes.
	maxPending = 8 << 20
	// retryDisk is how long a disk that failed is left alone.
	retryDisk = time.Second
	// hangTime is how long the disk may take for a piece of work before it counts as one that hangs. Less than who
	// waits for a record to be stored has patience.
	hangTime = 2 * time.Second
)

// Options are what Open needs.
type Options struct {
	Dir  string // created if absent; may be renamed while it is open
	Node string // whose the directory is
	// MaxBytes bounds the directory's segments, at least 1 MiB; see the package
	// comment for what is beside it.
	MaxBytes int64
	// Coalesce lets a newer Interim of a session replace an older one that is
	// still undelivered (R43).
	Coalesce bool
	Now      func() time.Time // nil: time.Now
	// OnState is told when storing begins to fail (the error) and when it works
	// again (nil); nil: nobody. It is called on the spool's goroutine.
	OnState func(error)

	create func(in *os.Root, name string) (file, error) // of tests: a disk that fails
}

// Record is what is stored.
type Record struct {
	Session uint64 // records of one session are delivered in their order
	Queue   uint32 // records of different queues do not wait for one another
	Class   Class
	Data    []byte // 1 to 65536 bytes; Submit copies them
	// Came is when it came, by Options.Now: it has waited since, and goes before records of its session that came later and
	// are not on their way yet. Zero: now.
	Came time.Time
}

// Ref names a stored record for Cancel.
type Ref struct {
	e  *entry
	id uint64
}

// Spool is the records on disk. All methods are safe for concurrent use. Submit
// and everything that only looks wait for no disk.
type Spool struct {
	opts Options
	root *os.Root // the directory, under whatever name; nil: readOnly
	now  func() time.Time
	base time.Time // of the monotonic times below
	// readOnly: Read's, which changes nothing on disk and has no goroutine.
	readOnly bool
	salt     [saltLen]byte
	count    atomic.Int64 // live and pending records: 0 spares Has the lock
	max      atomic.Int64
	damaged  atomic.Int64 // files in the directory
	wake     chan struct{}
	ready    chan struct{} // something may be delivered
	stopped  chan struct{}

	mu       sync.Mutex
	closed   bool
	coalesce bool
	failed   error         // of the disk's last write; nil: it works
	failedAt time.Duration // since base
	busy     time.Time     // when the writer began what it is at; zero: it rests
	next     uint64        // number of the next record
	batch    batch         // waits for the writer
	index    index
	notes    []uint64 // records that are over and not noted yet
	moves    []move
	counts   Counts
	unread   map[*entry]time.Duration // records that the disk does not give, since when
	copyAt   time.Duration            // no copying before: the disk did not give what was to be copied

	// The writer's own.
	segments  []*segment // oldest first; guarded by mu to change and to read from elsewhere
	active    *segment   // nil: the next write begins one
	ordinal   uint64
	spare     batch
	owner     *os.File // the directory's lock
	unsynced  bool
	syncedAt  time.Time
	told      bool
	damagedAt time.Time // when they were counted
}

// batch is what is written at once.
type batch struct {
	buf   []byte
	items []item
}

type item struct {
	e    *entry
	done func(Ref, error)
}

type move struct {
	id    uint64
	aside bool
}

// Counts are what happened since Open.
type Counts struct {
	Stored    uint64
	Recovered uint64 // to be delivered, found at Open
	Delivered uint64
	Coalesced uint64
	Cancelled uint64
	Dropped   uint64 // by an operator
	SetAside  uint64
	Damaged   uint64             // stretches of segments, found at Open or when they were read
	Refused   [numClasses]uint64 // by a spool that was full
	Failed    uint64             // records that the disk did not take
	LostNotes uint64             // ends that the disk did not take: such records may be delivered again after a crash
}

// Stats is what stands in the spool.
type Stats struct {
	Records int64 // to be delivered
	Bytes   int64 // of them, as they stand on disk
	Aside   int64 // set aside
	Oldest  time.Duration
	Disk    int64 // bytes of all segments
	Used    int64 // part of Max that is taken; admission goes by it
	Max     int64
	Accepts bool
	Error   error // of the disk; nil: it works
	Counts
}

// Submit hands a record over. It returns an error at once when it is not
// admitted; otherwise done is called exactly once, on the spool's goroutine: with
// nil when the record is synced, or with why it is not stored. done must not
// wait and must not call the spool's Append or Close.
func (s *Spool) Submit(r Record, done func(Ref, error)) error {
	if len(r.Data) == 0 || len(r.Data) > maxPayload {
		return ErrSize
	}
	if r.Class >= numClasses {
		r.Class = Start
	}
	size := int64(headerLen + len(r.Data))
	s.mu.Lock()
	if err := s.admit(r.Class, size); err != nil {
		if errors.Is(err, ErrFull) || errors.Is(err, ErrClass) {
			s.counts.Refused[r.Class]++
		}
		s.mu.Unlock()
		return err
	}
	at := s.now()
	if !r.Came.IsZero() {
		at = at.Add(-max(0, at.Sub(r.Came))) // the wall clock may have been set since it came
	}
	e := &entry{id: s.next, born: at.Sub(s.base), size: uint32(size), class: r.Class, off: uint32(len(s.batch.buf)), state: statePending}
	s.next++
	s.batch.buf = appendFrame(s.batch.buf, &s.salt, &frame{kind: kindRecord, class: r.Class, id: e.id, at: at.UnixNano(), session: r.Session, queue: r.Queue, payload: r.Data})
	s.batch.items = append(s.batch.items, item{e: e, done: done})
	e.session = s.index.session(r.Session, r.Queue)
	e.session.pending++
	s.index.pendingBytes += size
	s.count.Add(1)
	s.mu.Unlock()
	signal(s.wake)
	return nil
}

// Append stores a record and returns when it is synced, or why it is not stored.
func (s *Spool) Append(r Record) error {
	ended := make(chan error, 1)
	if err := s.Submit(r, func(_ Ref, err error) { ended <- err }); err != nil {
		return err
	}
	return <-ended
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// admit decides over a record of a class. mu is held.
func (s *Spool) admit(c Class, size int64) error {
	switch {
	case s.closed:
		return ErrClosed
	case s.failed != nil && s.now().Sub(s.base)-s.failedAt < retryDisk:
		return s.failed
	case s.hangs():
		return ErrHangs
	case len(s.batch.buf) > maxPending:
		return ErrBusy
	}
	used, most := s.used()+size+noteSize, s.max.Load()
	switch {
	case used > most:
		return ErrFull
	case used > most*c.limit()/100:
		return ErrClass
	}
	return nil
}

// used is the part of MaxBytes that is taken. mu is held.
func (s *Spool) used() int64 {
	return s.index.disk + s.index.pendingBytes + noteSize*s.count.Load()
}

// Empty tells whether no session has a record that no backend has yet. It takes no lock.
func (s *Spool) Empty() bool { return s.count.Load() == 0 }

// Has tells whether a session has records that no backend has yet. It takes no
// lock when the spool is empty.
func (s *Spool) Has(session uint64) bool {
	if s.Empty() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.index.sessions[session]
	return v != nil && (v.pending > 0 || v.head != nil)
}

// Accepts tells whether a record of some class is taken now.
func (s *Spool) Accepts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepts()
}

func (s *Spool) accepts() bool {
	return !s.closed && s.failed == nil && !s.hangs() && s.used() < s.max.Load()-maxPayload/16
}

// hangs tells whether the disk has not answered for hangTime. What waits for it then is stored, or not, when it does.
// mu is held.
func (s *Spool) hangs() bool { return !s.busy.IsZero() && time.Since(s.busy) > hangTime }

// at notes when the writer begins a piece of work; zero: it rests.
func (s *Spool) at(begun time.Time) {
	s.mu.Lock()
	s.busy = begun
	s.mu.Unlock()
}

// Update changes what a reload may change.
func (s *Spool) Update(maxBytes int64, coalesce bool) {
	s.max.Store(max(maxBytes, minBytes))
	s.mu.Lock()
	s.coalesce = coalesce
	s.mu.Unlock()
}

// Stats is one picture of the spool.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		Records: s.index.list.live.n, Bytes: s.index.list.live.bytes, Aside: s.index.list.aside.n, Disk: s.index.disk, Used: s.used(), Max: s.max.Load(),
		Accepts: s.accepts(), Error: s.failed, Counts: s.counts,
	}
	if e := s.index.list.oldest; e != nil {
		st.Oldest = max(0, s.now().Sub(s.base)-e.born)
	}
	if st.Error == nil && s.hangs() {
		st.Error = ErrHangs
	}
	return st
}

// Delivered is that of Counts.
func (s *Spool) Delivered() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts.Delivered
}

// DamagedFiles is how many damaged-*.bin lay in the directory a moment ago, also of earlier processes.
func (s *Spool) DamagedFiles() int { return int(s.damaged.Load()) }

// countDamaged reads the directory: on the spool's goroutine, so that nobody else waits for a disk that hangs.
func (s *Spool) countDamaged() {
	s.damagedAt = time.Now()
	names, err := damagedNames(s.root)
	if err != nil {
		return // who writes will tell
	}
	s.damaged.Store(int64(len(names)))
}

// Close stores what was submitted, notes what is over and closes the files. What
// is being delivered is delivered again after the next Open.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.stopped
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	signal(s.wake)
	<-s.stopped
	var first error
	for _, seg := range s.segments {
		if err := seg.file.Close(); err != nil && first == nil {
			first = fmt.Errorf("closing the spool: %w", err)
		}
	}
	for _, c := range []io.Closer{s.owner, s.root} {
		if err := c.Close(); err != nil && first == nil {
			first = fmt.Errorf("closing the spool: %w", err)
		}
	}
	return first
}

// noteFrames appends the notes that records are over. last is the highest number that was given.
func noteFrames(b []byte, salt *[saltLen]byte, ids []uint64, last uint64, taken time.Time) []byte {
	const most = maxPayload / 8
	for len(ids) > 0 {
		n := min(len(ids), most)
		payload := make([]byte, 0, 8*n)
		for _, id := range ids[:n] {
			payload = binary.BigEndian.AppendUint64(payload, id)
		}
		b = appendFrame(b, salt, &frame{kind: kindDone, id: last, at: taken.UnixNano(), payload: payload})
		ids = ids[n:]
	}
	return b
}
