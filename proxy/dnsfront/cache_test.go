package dnsfront

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"sereno/proxy/dnswire"
)

func testCache(t testing.TB, l cacheLimits) *cache {
	t.Helper()
	c := newCache(l)
	t.Cleanup(c.close)
	return c
}

// cacheKey is the key of an IN A question with DO and CD off.
func cacheKey(name string) []byte {
	key, ok := dnswire.ParseName(nil, name)
	if !ok {
		panic(name)
	}
	return append(key, 0, 1, 0, 1, keyRD)
}

// cacheAnswer is an answer to key with one A record for each TTL.
func cacheAnswer(key []byte, ttls ...uint32) *answer {
	m := append([]byte{0, 0, 0x81, 0x80, 0, 1, 0, byte(len(ttls)), 0, 0, 0, 0}, key[:len(key)-1]...)
	a := &answer{life: 1 << 30}
	for i, ttl := range ttls {
		m = append(m, 0xc0, 12, 0, 1, 0, 1)
		a.ttls = append(a.ttls, uint16(len(m)))
		m = binary.BigEndian.AppendUint32(m, ttl)
		m = append(m, 0, 4, 192, 0, 2, byte(i))
		a.life = min(a.life, ttl)
	}
	a.msg = m
	return a
}

func (c *cache) testGet(key []byte, now tick, stale bool) (hit, []byte, bool) {
	var h hit
	buf := make([]byte, 4096)
	ok := c.get(key, c.hash(key), now, buf, len(buf), stale, 30, &h)
	return h, buf[:h.n], ok
}

func TestD31EveryTTLCountsDown(t *testing.T) {
	c := testCache(t, cacheLimits{entries: 100})
	key := cacheKey("www.example.")
	a := cacheAnswer(key, 100, 300, 7)
	c.put(key, c.hash(key), 0, a)
	for seconds, want := range map[int][]uint32{0: {100, 300, 7}, 1: {99, 299, 6}, 6: {94, 294, 1}} {
		h, m, ok := c.testGet(key, tick(seconds*ticksPerSecond+15), false)
		if !ok || !h.whole || h.left != want[2] {
			t.Fatalf("after %d s: %v %+v", seconds, ok, h)
		}
		for i, at := range a.ttls {
			if got := dnswire.TTL(m, int(at)); got != want[i] {
				t.Errorf("after %d s: ttl %d is %d, want %d", seconds, i, got, want[i])
			}
		}
	}
	if _, _, ok := c.testGet(key, 7*ticksPerSecond, false); ok {
		t.Error("an answer outlived its least TTL")
	}
}

func TestD30DOAndCDAreInTheKey(t *testing.T) {
	c := testCache(t, cacheLimits{entries: 100})
	for flags := range byte(4) {
		key := cacheKey("www.example.")
		key[len(key)-1] = flags | keyRD
		c.put(key, c.hash(key), 0, cacheAnswer(key, 1000+uint32(flags)))
	}
	for flags := range byte(4) {
		key := cacheKey("www.example.")
		key[len(key)-1] = flags | keyRD
		if h, _, ok := c.testGet(key, 0, false); !ok || h.left != 1000+uint32(flags) {
			t.Errorf("flags %d: %v, left %d", flags, ok, h.left)
		}
	}
}

func TestD40EqualHashesAreToldApart(t *testing.T) {
	c := testCache(t, cacheLimits{entries: 100})
	one, two := cacheKey("one.example."), cacheKey("two.example.")
	const hash = 0x1234567812345678
	c.put(one, hash, 0, cacheAnswer(one, 111))
	var h hit
	buf := make([]byte, 512)
	if c.get(two, hash, 0, buf, 512, true, 30, &h) {
		t.Fatal("one name was answered for another with the same hash")
	}
	c.put(two, hash, 0, cacheAnswer(two, 222))
	if !c.get(one, hash, 0, buf, 512, true, 30, &h) || h.left != 111 || !c.get(two, hash, 0, buf, 512, true, 30, &h) || h.left != 222 {
		t.Error("two names with one hash do not live side by side")
	}
	if other := testCache(t, cacheLimits{entries: 100}); other.hash(one) == c.hash(one) && other.hash(two) == c.hash(two) {
		t.Error("two caches have the same seed")
	}
}

func TestD07LongAnswerLeavesOnlyTheQuestion(t *testing.T) {
	c := testCache(t, cacheLimits{entries: 100})
	key := cacheKey("big.example.")
	a := cacheAnswer(key, 60, 60, 60, 60)
	c.put(key, c.hash(key), 0, a)
	var h hit
	buf := make([]byte, 4096)
	if !c.get(key, c.hash(key), 0, buf, len(a.msg)-1, false, 0, &h) || h.whole || h.n != dnswire.HeaderLen+len(key)-1 {
		t.Fatalf("%+v", h)
	}
	if !c.get(key, c.hash(key), 0, buf, len(a.msg), false, 0, &h) || !h.whole || h.n != len(a.msg) {
		t.Fatalf("%+v", h)
	}
}

func TestD35StaleWithinItsTime(t *testing.T) {
	c := testCache(t, cacheLimits{entries: 100, negativeShare: 0.5, staleFor: time.Minute})
	key := cacheKey("www.example.")
	a := cacheAnswer(key, 10, 400)
	c.put(key, c.hash(key), 0, a)
	if _, _, ok := c.testGet(key, 10*ticksPerSecond, false); ok {
		t.Error("expired, and given as fresh")
	}
	h, m, ok := c.testGet(key, 69*ticksPerSecond, true)
	if !ok || !h.stale || h.recheck {
		t.Fatalf("%v %+v", ok, h)
	}
	for _, at := range a.ttls {
		if dnswire.TTL(m, int(at)) != 30 {
			t.Error("a stale answer has another TTL than stale.ttl")
		}
	}
	if _, _, ok := c.testGet(key, 71*ticksPerSecond, true); ok {
		t.Error("older than stale.for, and given")
	}
	c.failed(key, c.hash(key), 60*ticksPerSecond)
	if h, _, _ := c.testGet(key, 50*ticksPerSecond, true); !h.recheck {
		t.Error("a failed refresh is not remembered")
	}
	if h, _, _ := c.testGet(key, 61*ticksPerSecond, true); h.recheck {
		t.Error("a failed refresh is remembered for too long")
	}
	fail := cacheAnswer(key)
	fail.kind, fail.life = kindFailure, 5
	if c.put(key, c.hash(key), 50*ticksPerSecond, fail) {
		t.Error("a failure replaced an answer that can be given stale")
	}
	nx := cacheAnswer(key)
	nx.kind, nx.life = kindNXDomain, 5
	if !c.put(key, c.hash(key), 50*ticksPerSecond, nx) {
		t.Error("NXDOMAIN was not stored")
	}
	if h, _, ok := c.testGet(key, 50*ticksPerSecond, true); !ok || h.kind != kindNXDomain || h.stale {
		t.Error("a fresh NXDOMAIN does not replace stale data")
	}
}

func TestD36EntriesAndBytesAreBounded(t *testing.T) {
	for _, l := range []cacheLimits{{entries: 1}, {entries: 10}, {entries: 5000, negativeShare: 0.2}, {entries: 20000, bytes: 1 << 20, negativeShare: 0.2}} {
		c := testCache(t, l)
		for i := range 60000 {
			key := cacheKey(fmt.Sprintf("n%d.example.", i))
			a := cacheAnswer(key, make([]uint32, 1+i%40)...)
			a.life, a.kind = 100, answerKind(i%4)
			c.put(key, c.hash(key), 0, a)
		}
		entries, bytes := c.size()
		bound := max(l.bytes, l.entries*bytesPerEntry) + len(c.shards)*(minShardBlocks+3)*blockSize
		if l.bytes > 0 {
			bound = l.bytes + len(c.shards)*(minShardBlocks+3)*blockSize
		}
		bound += 32*l.entries + 1024
		if entries > l.entries+len(c.shards) || entries == 0 || bytes > bound {
			t.Errorf("%+v: %d entries, %d bytes, bound %d", l, entries, bytes, bound)
		}
		if l.bytes > 0 && entries > l.entries/2 {
			t.Errorf("%+v: bytes did not bound the entries: %d", l, entries)
		}
	}
}

func TestD36NegativeAnswersKeepToTheirShare(t *testing.T) {
	const size = 10000
	c := testCache(t, cacheLimits{entries: size, negativeShare: 0.2})
	put := func(name string, kind answerKind) {
		key := cacheKey(name)
		a := cacheAnswer(key, 300)
		a.kind = kind
		c.put(key, c.hash(key), 0, a)
	}
	for i := range size / 2 {
		put(fmt.Sprintf("good%d.example.", i), kindPositive)
	}
	for i := range 10 * size {
		put(fmt.Sprintf("x%d.flood.example.", i), answerKind(1+i%3))
	}
	good, negative := 0, 0
	for i := range size / 2 {
		if _, _, ok := c.testGet(cacheKey(fmt.Sprintf("good%d.example.", i)), 0, false); ok {
			good++
		}
	}
	for i := range c.shards {
		negative += c.shards[i].queues[queueNegative].count
	}
	if good != size/2 || negative > size/5+len(c.shards) || negative < size/6 {
		t.Errorf("%d of %d positive answers left, %d negative", good, size/2, negative)
	}
}

// TestD36FloodDoesNotPushOutWhatPeopleAsk: ten times the cache's size of names asked once,
// with good answers, next to a Zipf stream over a quarter as many names as the cache holds.
func TestD36FloodDoesNotPushOutWhatPeopleAsk(t *testing.T) {
	const size = 8000
	run := func(flood int, kind answerKind) float64 {
		c := testCache(t, cacheLimits{entries: size, negativeShare: 0.2})
		rng := rand.New(rand.NewPCG(1, 2))
		zipf := rand.NewZipf(rng, 1.1, 1, size/4)
		hits, asked, n := 0, 0, 0
		ask := func(name string, kind answerKind) bool {
			key := cacheKey(name)
			if _, _, ok := c.testGet(key, 0, false); ok {
				return true
			}
			a := cacheAnswer(key, 3000)
			a.kind = kind
			c.put(key, c.hash(key), 0, a)
			return false
		}
		for i := range 14 * size {
			hit := ask(fmt.Sprintf("p%d.example.", zipf.Uint64()), kindPositive)
			if i > 4*size { // the cache is warm, and the flood begins
				asked++
				if hit {
					hits++
				}
			}
			for range flood {
				if i > 4*size {
					n++
					ask(fmt.Sprintf("r%d.example.", n), kind)
				}
			}
		}
		return float64(hits) / float64(asked)
	}
	quiet := run(0, kindPositive)
	for name, kind := range map[string]answerKind{"positive": kindPositive, "nxdomain": kindNXDomain} {
		if under := run(1, kind); quiet-under > 0.02 {
			t.Errorf("%s flood: hit ratio falls from %.3f to %.3f", name, quiet, under)
		} else {
			t.Logf("%s flood: hit ratio %.3f, without %.3f", name, under, quiet)
		}
	}
}

func TestD38FlushByNameSubtreeAndAll(t *testing.T) {
	c := testCache(t, cacheLimits{entries: 1000})
	names := []string{"example.", "a.example.", "b.a.example.", "xa.example.", "other."}
	fill := func() {
		for _, n := range names {
			for flags := range byte(4) {
				key := cacheKey(n)
				key[len(key)-1] = flags
				c.put(key, c.hash(key), 0, cacheAnswer(key, 100))
			}
		}
	}
	for _, tc := range []struct {
		name    string
		subtree bool
		gone    int
	}{{"a.example.", false, 4}, {"a.example.", true, 8}, {"example.", true, 16}, {".", true, 20}, {".", false, 0}} {
		fill()
		name, _ := dnswire.ParseName(nil, tc.name)
		if got := c.flush(name, tc.subtree); got != tc.gone {
			t.Errorf("%+v: %d gone", tc, got)
		}
	}
	fill()
	if got := c.flush(nil, false); got != 20 {
		t.Error("all:", got)
	}
	if n, _ := c.size(); n != 0 {
		t.Error(n, "left")
	}
}

// TestCacheAgreesWithAModel runs random operations against a map: what the cache gives
// must be what was put last, and the index must stay whole.
func TestCacheAgreesWithAModel(t *testing.T) {
	c := testCache(t, cacheLimits{entries: 300, negativeShare: 0.3})
	rng := rand.New(rand.NewPCG(7, 7))
	model := map[string][]byte{}
	for i := range 200000 {
		key := cacheKey(fmt.Sprintf("n%d.example.", rng.IntN(600)))
		switch op := rng.IntN(10); {
		case op < 4:
			a := cacheAnswer(key, make([]uint32, rng.IntN(30))...)
			a.life, a.kind = 1000, answerKind(rng.IntN(3))
			a.msg[3] = byte(i)
			c.put(key, c.hash(key), 0, a)
			model[string(key)] = bytes.Clone(a.msg)
		case op == 4 && i%50 == 0:
			c.flush(key[:len(key)-5], true)
			delete(model, string(key))
		case op == 5 && i%1000 == 0:
			c.setLimits(cacheLimits{entries: 100 + rng.IntN(400), negativeShare: 0.3})
		default:
			if _, m, ok := c.testGet(key, 0, false); ok && !bytes.Equal(m, model[string(key)]) {
				t.Fatalf("step %d: %x, want %x", i, m, model[string(key)])
			}
		}
	}
	live, sum := 0, 0
	for i := range c.shards {
		s := &c.shards[i]
		for j := range s.table {
			if loc := s.table[j].loc; loc != 0 {
				live++
				e := s.entry(loc)
				if s.find(append(bytes.Clone(question(e)), e[entryFlags]&flagKeyMask), s.table[j].hash) != j {
					t.Fatal("an entry is not found under its own key")
				}
			}
		}
		for q := range s.queues {
			sum += s.queues[q].count
		}
	}
	if n, _ := c.size(); n != live || n != sum {
		t.Errorf("%d entries counted, %d in the index, %d in the queues", n, live, sum)
	}
}

func TestCacheUnderConcurrentUse(t *testing.T) {
	c := testCache(t, cacheLimits{entries: 500, negativeShare: 0.2, staleFor: time.Hour})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			buf := make([]byte, 512)
			var h hit
			for i := range 20000 {
				key := cacheKey(fmt.Sprintf("n%d.example.", rng.IntN(1000)))
				hash := c.hash(key)
				switch {
				case rng.IntN(4) == 0:
					c.put(key, hash, tick(i), cacheAnswer(key, 60))
				case i%5000 == 0:
					c.flush(nil, false)
				case i%3000 == 0:
					c.failed(key, hash, tick(i))
				default:
					if c.get(key, hash, tick(i), buf, 512, true, 30, &h) && !bytes.Equal(buf[12:12+len(key)-1], key[:len(key)-1]) {
						t.Error("another name's answer")
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkCacheMemory reports what a million ordinary answers take: one or two A
// records under a name of about twenty octets.
func BenchmarkCacheMemory(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		before := resident()
		c := newCache(cacheLimits{entries: n, negativeShare: 0.2})
		for i := range n + n/50 {
			key := cacheKey(fmt.Sprintf("host-%d.example%d.com.", i, i%1000))
			c.put(key, c.hash(key), 0, cacheAnswer(key, make([]uint32, 1+i%2)...))
		}
		runtime.GC()
		entries, bytes := c.size()
		b.ReportMetric(float64(bytes)/float64(entries), "B/entry")
		b.ReportMetric(float64(resident()-before)/1e6, "MB-resident")
		b.ReportMetric(float64(entries), "entries")
		c.close()
	}
}

func BenchmarkCacheHit(b *testing.B) {
	c := newCache(cacheLimits{entries: 100000})
	defer c.close()
	keys := make([][]byte, 4096)
	for i := range keys {
		keys[i] = cacheKey(fmt.Sprintf("host-%d.example%d.com.", i, i%1000))
		c.put(keys[i], c.hash(keys[i]), 0, cacheAnswer(keys[i], 300, 300))
	}
	buf := make([]byte, 4096)
	var h hit
	i := 0
	for b.Loop() {
		key := keys[i%len(keys)]
		i++
		if !c.get(key, c.hash(key), 16, buf, 1232, false, 0, &h) {
			b.Fatal("miss")
		}
	}
}
