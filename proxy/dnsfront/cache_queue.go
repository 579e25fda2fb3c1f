package dnsfront

import "encoding/binary"

const (
	blockSize      = 32 << 10
	blockShift     = 12 // bits of a place within a block, in units of entryAlign
	blockMask      = 1<<blockShift - 1
	minShardBlocks = 8
)

// The queues of a shard.
const (
	queueSmall = iota
	queueMain
	queueNegative
	numQueues
)

// block is a run of memory that is filled from the front with the entries of one queue.
type block struct {
	buf []byte
	end int // octets used
}

// fifo is one queue: blocks in order, the last one is being filled, the first one is
// being emptied from its entry at tail on.
type fifo struct {
	ids   []uint32
	tail  int
	count int // live entries
	bytes int // of its blocks
}

func queueOf(e []byte) int { return int(e[entryFlags]&flagQueueMask) >> flagQueue }

// alloc makes room for n octets (a multiple of entryAlign) at the end of a queue.
func (s *shard) alloc(queue, n int) (loc uint32, e []byte) {
	q := &s.queues[queue]
	var id uint32
	if len(q.ids) > 0 {
		id = q.ids[len(q.ids)-1]
	}
	if id == 0 || s.blocks[id].end+n > len(s.blocks[id].buf) {
		id = s.newBlock(n)
		q.ids = append(q.ids, id)
		q.bytes += len(s.blocks[id].buf)
	}
	b := &s.blocks[id]
	off := b.end
	b.end += n
	return id<<blockShift | uint32(off/entryAlign), b.buf[off : off+n]
}

// newBlock takes a block for at least n octets into use. An entry over blockSize gets a
// block of its own, so its offset is always 0.
func (s *shard) newBlock(n int) uint32 {
	var buf []byte
	if n > blockSize {
		buf = make([]byte, n)
	} else {
		buf = s.mem.get()
	}
	s.bytes += len(buf)
	if k := len(s.freeIDs); k > 0 {
		id := s.freeIDs[k-1]
		s.freeIDs = s.freeIDs[:k-1]
		s.blocks[id] = block{buf: buf}
		return id
	}
	if len(s.blocks) == 0 {
		s.blocks = append(s.blocks, block{})
	}
	s.blocks = append(s.blocks, block{buf: buf})
	return uint32(len(s.blocks) - 1)
}

// freeFirst gives back the first block of a queue, all of which has been passed.
func (s *shard) freeFirst(q *fifo) {
	id := q.ids[0]
	q.ids = q.ids[:copy(q.ids, q.ids[1:])]
	q.tail = 0
	buf := s.blocks[id].buf
	q.bytes -= len(buf)
	s.bytes -= len(buf)
	s.blocks[id] = block{}
	s.freeIDs = append(s.freeIDs, id)
	if len(buf) == blockSize {
		s.mem.put(buf)
	}
}

// shrink evicts until the shard is inside its bounds.
func (s *shard) shrink() {
	for neg := &s.queues[queueNegative]; neg.count > s.maxNegative || neg.bytes > s.maxNegativeBytes; {
		if !s.evict(queueNegative) {
			break
		}
	}
	for s.count > s.maxEntries || s.bytes > s.maxBytes {
		small, main := &s.queues[queueSmall], &s.queues[queueMain]
		switch {
		case small.count*10 > s.maxEntries || small.bytes*10 > s.maxBytes && len(small.ids) > 1:
			s.evict(queueSmall)
		case len(main.ids) > 0:
			s.evict(queueMain)
		case len(small.ids) > 0:
			s.evict(queueSmall)
		default:
			if !s.evict(queueNegative) {
				return
			}
		}
	}
}

// evict takes one step at the old end of a queue: it drops or moves one live entry, or
// frees one block. It reports whether there was anything to do. Every entry is moved
// at most four times before it is dropped, so repeated steps come to an end.
func (s *shard) evict(queue int) bool {
	q := &s.queues[queue]
	for len(q.ids) > 0 {
		id := q.ids[0]
		b := &s.blocks[id]
		if q.tail == b.end {
			s.freeFirst(q)
			return true
		}
		loc := id<<blockShift | uint32(q.tail/entryAlign)
		e := s.entry(loc)
		q.tail += len(e)
		i := s.locate(binary.LittleEndian.Uint32(e[entryHash:]), loc)
		if i < 0 {
			continue // replaced or flushed
		}
		asked := s.table[i].loc >> locBits
		switch {
		case asked == 0:
			if queue == queueSmall {
				hash := s.table[i].hash
				s.ghost[hash&uint32(len(s.ghost)-1)] = hash
			}
			s.drop(i)
		case queue == queueSmall:
			s.move(i, e, queueMain, 0)
		default:
			s.move(i, e, queue, asked-1)
		}
		return true
	}
	return false
}

// move copies the live entry e of slot i to the end of a queue.
func (s *shard) move(i int, e []byte, queue int, asked uint32) {
	loc, to := s.alloc(queue, len(e))
	copy(to, e)
	s.queues[queueOf(e)].count--
	s.queues[queue].count++
	to[entryFlags] = to[entryFlags]&^flagQueueMask | byte(queue)<<flagQueue
	s.table[i].loc = loc | asked<<locBits
}

// locate returns the index of the slot that holds a place, or -1.
func (s *shard) locate(hash, loc uint32) int {
	for i := hash & s.mask; s.table[i].loc != 0; i = (i + 1) & s.mask {
		if s.table[i].loc&locMask == loc {
			return int(i)
		}
	}
	return -1
}
