package ledger

import (
	"encoding/binary"
	"fmt"
	"io"

	bolt "go.etcd.io/bbolt"
)

// How bbolt writes its pages, in the machine's own byte order: a header (id 8, flags 2, count 2, pages that follow it 4),
// then count elements of a branch (offset of the key 4, its length 4, page 8) or of a leaf (flags 4, offset 4, length of
// the key 4, of the value 4), whose offsets count from the element. A leaf's value may be a bucket: the page of its root
// (8) and a sequence (8), and where there is no such page, a whole page in what follows.
const (
	pageHead     = 16
	pageElement  = 16
	bucketHead   = 16
	branchPage   = 0x01
	leafPage     = 0x02
	bucketInLeaf = 0x01
)

// pageCheck walks a file's tree of pages before bbolt does, which believes all that they say: a page that leads back to
// itself would keep it going for ever, and a length is a piece of whatever is in memory.
type pageCheck struct {
	file   io.ReaderAt
	size   int    // of a page, bytes
	pages  uint64 // how many there are
	seen   map[uint64]struct{}
	ahead  []uint64 // pages that others lead to
	order  binary.ByteOrder
	nested int
}

// checkPages tells what is wrong with the pages that tx can reach.
func checkPages(file io.ReaderAt, tx *bolt.Tx) error {
	size := tx.DB().Info().PageSize
	c := &pageCheck{file: file, size: size, pages: uint64(tx.Size()) / uint64(size), seen: map[uint64]struct{}{}, order: binary.NativeEndian} //nolint:gosec // not negative
	c.ahead = append(c.ahead, uint64(tx.Cursor().Bucket().Root()))
	for len(c.ahead) > 0 {
		id := c.ahead[len(c.ahead)-1]
		c.ahead = c.ahead[:len(c.ahead)-1]
		page, err := c.read(id)
		if err == nil {
			err = c.page(page)
		}
		if err != nil {
			return fmt.Errorf("%w: page %d: %w", errDamaged, id, err)
		}
	}
	return nil
}

// read reads a page with those that follow it, which nobody else may lead to.
func (c *pageCheck) read(id uint64) ([]byte, error) {
	head := make([]byte, pageHead)
	if id < 2 || id >= c.pages {
		return nil, fmt.Errorf("there are %d", c.pages)
	}
	if _, err := c.file.ReadAt(head, int64(id)*int64(c.size)); err != nil { //nolint:gosec // less than the file has
		return nil, err
	}
	n := uint64(c.order.Uint32(head[12:])) + 1
	if c.order.Uint64(head) != id || n > c.pages-id {
		return nil, fmt.Errorf("it calls itself %d, of %d pages", c.order.Uint64(head), n)
	}
	for i := range n {
		if _, known := c.seen[id+i]; known {
			return nil, fmt.Errorf("two lead to %d", id+i)
		}
		c.seen[id+i] = struct{}{}
	}
	page := make([]byte, n*uint64(c.size)) //nolint:gosec // not negative
	_, err := c.file.ReadAt(page, int64(id)*int64(c.size))
	return page, err
}

// page checks that what a page holds lies within it, and notes where it leads to.
func (c *pageCheck) page(p []byte) error {
	if len(p) < pageHead {
		return io.ErrUnexpectedEOF
	}
	flags, count := c.order.Uint16(p[8:]), int(c.order.Uint16(p[10:]))
	if pageHead+count*pageElement > len(p) || flags != leafPage && (flags != branchPage || count == 0) {
		return fmt.Errorf("%d elements of kind %#x", count, flags)
	}
	for i := range count {
		e := p[pageHead+i*pageElement:]
		if flags == branchPage {
			if uint64(c.order.Uint32(e))+uint64(c.order.Uint32(e[4:])) > uint64(len(e)) {
				return fmt.Errorf("key %d is not in it", i)
			}
			c.ahead = append(c.ahead, c.order.Uint64(e[8:]))
			continue
		}
		value := uint64(c.order.Uint32(e[4:])) + uint64(c.order.Uint32(e[8:]))
		end := value + uint64(c.order.Uint32(e[12:]))
		if end > uint64(len(e)) {
			return fmt.Errorf("value %d is not in it", i)
		}
		if c.order.Uint32(e)&bucketInLeaf != 0 {
			if err := c.bucket(e[value:end]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *pageCheck) bucket(v []byte) error {
	if len(v) < bucketHead {
		return io.ErrUnexpectedEOF
	}
	if root := c.order.Uint64(v); root != 0 {
		c.ahead = append(c.ahead, root)
		return nil
	}
	if c.nested++; c.nested > len(buckets) {
		return fmt.Errorf("more than %d buckets", len(buckets))
	}
	return c.page(v[bucketHead:])
}
