package dnsfront

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sereno/proxy/dnswire"
)

// The snapshot of a cache (D39): a header, then records, then a trailer whose check sum
// covers everything before it. Whatever is not exactly so is a torn or foreign file,
// and none of it is used. Times are absolute, so that TTLs go on counting while the
// node is down.
//
// Header: magic (8 octets), moment at which it was written (int64, Unix ms).
// Record: octets of the rest (uint32), age (uint32, ticks), life (uint32, seconds),
// key flags, kind, upper rcode (uint8 each), places (uint16), EDE (uint16), message
// (uint16), then places, EDE and message. Trailer: 0 (uint32), number of records
// (uint32), CRC-32C.
const (
	snapshotMagic  = "SERENOC1"
	snapshotRecord = 4 + 4 + 3 + 6
	snapshotMax    = 4 * dnswire.MaxMessage
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errForeign is what is said of a file that is not a whole snapshot.
var errForeign = errors.New("not a whole cache snapshot")

// save writes every entry to path: first to a file beside it, which then takes its
// place, so that a crash leaves the old one or the new one.
func (c *cache) save(path string, now time.Time, at tick) (records int, err error) {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("writing cache snapshot: %w", err)
	}
	records, err = c.write(f, now, at)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("writing cache snapshot: %w", err), os.Remove(tmp))
	}
	return records, nil
}

func (c *cache) write(w io.Writer, now time.Time, at tick) (int, error) {
	sum := crc32.New(castagnoli)
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<20)
	buf := binary.LittleEndian.AppendUint64([]byte(snapshotMagic), uint64(now.UnixMilli())) //nolint:gosec // after 1970
	if _, err := out.Write(buf); err != nil {
		return 0, err
	}
	records := 0
	for i := range c.shards {
		s := &c.shards[i]
		buf = buf[:0]
		n := 0
		s.mu.RLock()
		for _, slot := range s.table {
			if slot.loc != 0 {
				buf = appendRecord(buf, s.entry(slot.loc), at)
				n++
			}
		}
		s.mu.RUnlock()
		if _, err := out.Write(buf); err != nil {
			return 0, err
		}
		records += n
	}
	buf = binary.LittleEndian.AppendUint32(append(buf[:0], 0, 0, 0, 0), uint32(records)) //nolint:gosec // fits
	if _, err := out.Write(buf); err != nil {
		return 0, err
	}
	if err := out.Flush(); err != nil {
		return 0, err
	}
	_, err := w.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32()))
	return records, err
}

func appendRecord(dst, e []byte, at tick) []byte {
	off, n := message(e)
	var age uint32
	if stored := tick(binary.LittleEndian.Uint32(e[entryStored:])); at > stored {
		age = uint32(at - stored)
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, age)
	dst = append(dst, e[entryLife:entryLife+4]...)
	dst = append(dst, e[entryFlags]&flagKeyMask, e[entryFlags]&flagKindMask>>flagKindShift, e[entryRcode])
	dst = append(dst, e[entryPlaces:entryPlaces+2]...)
	dst = append(dst, e[entryEDE:entryEDE+2]...)
	dst = append(dst, e[entryMsg:entryMsg+2]...)
	dst = append(dst, e[entryHeader:off+n]...)
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start-4)) //nolint:gosec // an entry is short
	return dst
}

// load reads a snapshot into the cache, which must be empty, as it has aged since. On an error
// the cache is empty still.
func (c *cache) load(path string, now time.Time, at tick, hash func(key []byte) uint64) (records int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("reading cache snapshot: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	// Look at all of it before any of it is used.
	records, written, err := readSnapshot(f, func([]byte, tick, *answer) {})
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		asleep := tick(0).add(max(0, now.Sub(written)))
		_, _, err = readSnapshot(f, func(key []byte, age tick, a *answer) {
			c.restore(key, hash(key), at, tick(min(uint64(age)+uint64(asleep), 1<<31)), a)
		})
	}
	if err != nil {
		c.flush(nil, false)
		return 0, fmt.Errorf("reading cache snapshot %s: %w", path, err)
	}
	return records, nil
}

// restore stores an answer that is of an age already. The cache's clock begins with the
// service: what was stored before is given the life that is left of it, with its TTLs lowered
// here and now.
func (c *cache) restore(key []byte, hash uint64, at, age tick, a *answer) {
	if gone := uint32(age / ticksPerSecond); gone < a.life {
		dnswire.AgeTTLs(a.msg, a.ttls, gone)
		a.life -= gone
	} else if over := age - tick(a.life)*ticksPerSecond; a.kind != kindFailure && over < c.shards[0].staleFor {
		// Expired, and still good to be given stale for the rest of its time.
		a.life = 0
		at -= min(at, over)
	} else {
		return
	}
	c.put(key, hash, at, a)
}

// snapshotReader reads a snapshot piece by piece: a node may not have memory for all of it
// beside the cache.
type snapshotReader struct {
	in     *bufio.Reader
	sum    hash.Hash32
	room   []byte // what was taken last
	key    []byte
	answer answer
	reply  dnswire.Reply
}

// readSnapshot reads a snapshot to its end and gives use each of its records, of which it keeps
// nothing and may change all. Whether the file is whole is known when it returns.
func readSnapshot(f io.Reader, use func(key []byte, age tick, a *answer)) (records int, written time.Time, err error) {
	x := snapshotReader{in: bufio.NewReaderSize(f, 1<<16), sum: crc32.New(castagnoli)}
	head, err := x.take(len(snapshotMagic) + 8)
	if err != nil || string(head[:len(snapshotMagic)]) != snapshotMagic {
		return 0, written, errForeign
	}
	written = time.UnixMilli(int64(binary.LittleEndian.Uint64(head[len(snapshotMagic):]))) //nolint:gosec // as written
	for ; ; records++ {
		b, err := x.take(4)
		if err != nil {
			return 0, written, err
		}
		n := binary.LittleEndian.Uint32(b)
		if n == 0 {
			break
		}
		if n > snapshotMax {
			return 0, written, errForeign
		}
		if b, err = x.take(int(n)); err != nil {
			return 0, written, err
		}
		age, ok := x.record(b)
		if !ok {
			return 0, written, errForeign
		}
		use(x.key, age, &x.answer)
	}
	count, err := x.take(4)
	if err != nil || int(binary.LittleEndian.Uint32(count)) != records {
		return 0, written, errForeign
	}
	want := x.sum.Sum32()
	sum, err := x.take(4)
	if err != nil || binary.LittleEndian.Uint32(sum) != want {
		return 0, written, errForeign
	}
	if _, err := x.in.ReadByte(); !errors.Is(err, io.EOF) {
		return 0, written, errForeign
	}
	return records, written, nil
}

// take reads n octets. They are good until it is called again.
func (x *snapshotReader) take(n int) ([]byte, error) {
	x.room = slices.Grow(x.room[:0], n)[:n]
	if _, err := io.ReadFull(x.in, x.room); err != nil {
		return nil, fmt.Errorf("%w: %w", errForeign, err)
	}
	x.sum.Write(x.room)
	return x.room, nil
}

// record reads one record, without its length, into key and answer. Nothing in it is believed
// before it was checked.
func (x *snapshotReader) record(b []byte) (age tick, ok bool) {
	if len(b) < snapshotRecord {
		return 0, false
	}
	places, ede, size := int(binary.LittleEndian.Uint16(b[11:])), int(binary.LittleEndian.Uint16(b[13:])), int(binary.LittleEndian.Uint16(b[15:]))
	if len(b) != snapshotRecord+2*places+ede+size || b[8]&^flagKeyMask != 0 || b[9] > uint8(kindFailure) || ede > maxEDE {
		return 0, false
	}
	at := snapshotRecord + 2*places
	x.answer = answer{life: binary.LittleEndian.Uint32(b[4:]), kind: answerKind(b[9]), extRcode: b[10], ede: b[at : at+ede], msg: b[at+ede:]}
	if dnswire.ParseReply(x.answer.msg, &x.reply) != nil || x.reply.OPT.Present || len(x.reply.TTLs) != places {
		return 0, false
	}
	x.answer.ttls = x.reply.TTLs
	x.key = append(x.reply.Key(x.key[:0], x.answer.msg), b[8]|keyRD)
	return tick(binary.LittleEndian.Uint32(b)), true
}

// snapshotPath is where a service keeps its snapshot; "" if it has none.
func (s *Service) snapshotPath(c *Config) string {
	if s.stateDir == "" || !c.Cache.Enabled || !c.Cache.Snapshot {
		return ""
	}
	return filepath.Join(s.stateDir, "cache-"+safeName(c.Name))
}

// renameSnapshot lets a crash under the new name find what a stop under the old one left.
func (s *Service) renameSnapshot(was, is *Config) {
	from, to := s.snapshotPath(was), s.snapshotPath(is)
	if from == "" || to == "" {
		return
	}
	if err := os.Rename(from, to); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.snapshotIgnored(err)
	}
}

// removeSnapshot removes the snapshot of the last stop, if there is one.
func (s *Service) removeSnapshot(path string) {
	if path == "" {
		return
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.snapshotStays(err)
	}
}

// safeName makes a file name of a service's name, different for different names.
func safeName(name string) string {
	out := make([]byte, 0, len(name))
	for _, b := range []byte(name) {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-', b == '_':
			out = append(out, b)
		default:
			out = fmt.Appendf(out, "%%%02x", b)
		}
	}
	return string(out)
}

// loadSnapshot fills the cache at the start. A missing file is usual; a bad one is
// warned of and ignored.
func (s *Service) loadSnapshot(set *settings) {
	path := s.snapshotPath(&set.cfg)
	if path == "" || set.cache == nil {
		return
	}
	now := s.nowFunc()
	n, err := set.cache.load(path, now, tickOf(int64(now.Sub(s.base))), s.hash)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		s.log.snapshotIgnored(err)
	default:
		s.log.snapshotLoaded(n)
	}
}

// saveSnapshot writes the cache at the stop. Nobody uses it any more.
func (s *Service) saveSnapshot(set *settings) error {
	path := s.snapshotPath(&set.cfg)
	if path == "" || set.cache == nil {
		return nil
	}
	now := s.nowFunc()
	n, err := set.cache.save(path, now, tickOf(int64(now.Sub(s.base))))
	if err == nil {
		s.log.snapshotSaved(n)
	}
	return err
}
