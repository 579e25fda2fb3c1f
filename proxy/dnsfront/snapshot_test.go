package dnsfront

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestD39SnapshotOverARestart(t *testing.T) {
	f := newFront(t, setup{stateDir: t.TempDir()})
	for i := range 200 {
		f.ask(asking(unique(i), dns.TypeA))
	}
	f.ask(withOPT(asking("nx.example.", dns.TypeA), 1232, true))
	f.askTCP(asking("big.example.", dns.TypeA))
	f.later(100 * time.Second)
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.later(50 * time.Second) // while it is down
	before := f.asked()
	f.start()
	for i := range 200 {
		if got := ttlOf(t, f.ask(asking(unique(i), dns.TypeA))); got < 148 || got > 150 {
			t.Fatalf("TTL %d, want about 150", got)
		}
	}
	if m := f.askTCP(asking("big.example.", dns.TypeA)); len(m.Answer) != 200 {
		t.Error(m)
	}
	if n := f.asked(); n != before {
		t.Errorf("asked %d times after the restart", n-before)
	}
	for _, r := range f.resolvers {
		r.set(func(q *request) [][]byte { return [][]byte{packed(q.r.t, q.reply(dns.RcodeServerFailure))} })
	}
	m := f.ask(withOPT(asking("nx.example.", dns.TypeA), 1232, true)) // expired meanwhile
	if m.Rcode != dns.RcodeNameError || ede(m) != 19 {
		t.Error("an answer that expired while it was down is not given stale: ", m)
	}
}

// What has expired does not become younger by a restart (D35).
func TestD39StaleAnswersDoNotOutliveARestart(t *testing.T) {
	f := newFront(t, setup{stateDir: t.TempDir(), config: func(c *Config) { c.Cache.Stale.For = time.Hour }})
	f.ask(asking("www.example.", dns.TypeA)) // lives 300 s
	for _, r := range f.resolvers {
		r.set(func(q *request) [][]byte { return [][]byte{packed(q.r.t, q.reply(dns.RcodeServerFailure))} })
	}
	f.later(300 * time.Second)
	for i := range 4 { // four times 20 minutes
		f.later(20*time.Minute - time.Second)
		if err := f.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.later(time.Second)
		f.start()
		want := dns.RcodeSuccess
		if i >= 2 {
			want = dns.RcodeServerFailure
		}
		if m := f.ask(asking("www.example.", dns.TypeA)); m.Rcode != want {
			t.Errorf("after %d minutes: %s", 20*(i+1), dns.RcodeToString[m.Rcode])
		}
	}
}

func TestD39TornAndForeignFilesAreIgnored(t *testing.T) {
	dir := t.TempDir()
	f := newFront(t, setup{stateDir: dir})
	for i := range 20 {
		f.ask(asking(unique(i), dns.TypeA))
	}
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "cache-resolver")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := testCache(t, cacheLimits{entries: 1000})
	load := func(b []byte) (int, error) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return c.load(path, time.Now(), 0, c.hash)
	}
	for i := range good {
		bad := append([]byte{}, good...)
		bad[i] ^= 4
		if n, err := load(bad); !errors.Is(err, errForeign) || n != 0 {
			t.Fatalf("octet %d changed: %d %v", i, n, err)
		}
	}
	for i := 0; i < len(good); i += 7 {
		if _, err := load(good[:i]); !errors.Is(err, errForeign) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if n, _ := c.size(); n != 0 {
		t.Error("something of a bad file was used:", n)
	}
	if n, err := load(good); n != 20 || err != nil {
		t.Error(n, err)
	}
	if err := os.WriteFile(path, good[:50], 0o600); err != nil {
		t.Fatal(err)
	}
	f.start()
	f.ask(asking(unique(1), dns.TypeA))
}

// TestD38WhatWasFlushedIsNotBroughtBackByACrash: what a node begins with after a crash is the snapshot of its last stop.
func TestD38WhatWasFlushedIsNotBroughtBackByACrash(t *testing.T) {
	dir := t.TempDir()
	f := newFront(t, setup{stateDir: dir})
	path := filepath.Join(dir, "cache-resolver")
	f.ask(asking("www.example.", dns.TypeA))
	f.ask(asking("other.example.", dns.TypeA))
	for range 2 {
		if err := f.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.start()
		if _, err := os.Stat(path); err != nil {
			t.Fatal("a crash would begin with nothing: ", err)
		}
		if n, err := f.Flush("www.example.", false); err != nil || n > 1 {
			t.Fatal(n, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Error("the snapshot still has it: ", err)
		}
	}
	before := f.asked()
	f.ask(asking("other.example.", dns.TypeA))
	if f.asked() != before {
		t.Error("a stop after it did not keep the rest")
	}
}

// TestD39ALongSnapshotIsReadWithLittleMemory: that of a full cache is as long as the cache, and a node may have memory for
// one of them.
func TestD39ALongSnapshotIsReadWithLittleMemory(t *testing.T) {
	const entries = 20_000
	path := filepath.Join(t.TempDir(), "cache")
	c := testCache(t, cacheLimits{entries: entries})
	for i := range entries {
		key := cacheKey(unique(i))
		c.put(key, c.hash(key), 0, cacheAnswer(key, 300, 300, 300, 300, 300, 300, 300, 300))
	}
	written, err := c.save(path, time.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() < 3<<20 {
		t.Fatal(info, err)
	}
	again := testCache(t, cacheLimits{entries: entries})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := again.load(path, time.Now(), 0, again.hash)
	runtime.ReadMemStats(&after)
	if err != nil || n != written {
		t.Errorf("%d of %d records, %v", n, written, err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
		t.Errorf("%d bytes of memory for a file of %d", took, info.Size())
	}
}

func FuzzSnapshotRecord(f *testing.F) {
	c := testCache(f, cacheLimits{entries: 100})
	key := cacheKey("www.example.")
	c.put(key, c.hash(key), 0, cacheAnswer(key, 60, 70))
	for _, s := range c.shards[0].table {
		if s.loc != 0 {
			f.Add(appendRecord(nil, c.shards[0].entry(s.loc), 5))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var x snapshotReader
		if len(b) < 4 {
			return
		}
		if _, ok := x.record(b[4:]); !ok { // behind its length
			return
		}
		key, a := x.key, &x.answer
		a.life = max(1, a.life)
		c.put(key, c.hash(key), 0, a)
		var h hit
		buf := make([]byte, 65535)
		if !c.get(key, c.hash(key), 0, buf, len(buf), false, 0, &h) && len(a.msg) < 50000 && a.kind != kindFailure {
			t.Fatal("stored and not found")
		}
	})
}

func TestSafeName(t *testing.T) {
	if got := safeName("../a b"); got != "%2e%2e%2fa%20b" {
		t.Error(got)
	}
}

// A service that was renamed finds its cache under its new name, after a stop and
// after a crash.
func TestO04RenamedServiceKeepsItsSnapshot(t *testing.T) {
	dir := t.TempDir()
	f := newFront(t, setup{stateDir: dir})
	f.ask(asking("www.example.", dns.TypeA))
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.start()
	was := f.Name()
	f.opts.Config.Name = "recursor"
	if err := f.Update(f.opts); err != nil || f.Name() != "recursor" {
		t.Fatal(f.Name(), err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cache-recursor")); err != nil {
		t.Error(err)
	}
	f.addr = f.Listeners()[0].Address
	f.ask(asking("ftp.example.", dns.TypeA))
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cache-"+was)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old name's snapshot: %v", err)
	}
	before := f.asked()
	f.start()
	f.ask(asking("www.example.", dns.TypeA))
	f.ask(asking("ftp.example.", dns.TypeA))
	if n := f.asked() - before; n != 0 {
		t.Errorf("asked %d times after the restart", n)
	}
}
