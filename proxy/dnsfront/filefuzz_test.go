package dnsfront

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"hash/maphash"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/proxy/dnswire"
	"sereno/proxy/udp"
)

// FuzzBlockList: a list is read or refused; of one that is read every name is blocked, the
// root is not, and what is answered for its names parses, has the client's ID, and fits.
func FuzzBlockList(f *testing.F) {
	f.Add("names", "192.0.2.99", "\ufeff# a court's order\nBad.Example\nevil.test.   # with a remark\n\nnot a name\nb\u00fccher.example\n.\n")
	f.Add("hosts", "nxdomain", "127.0.0.1 localhost\n0.0.0.0 ads.example tracker.example # two\nnonsense\n")
	f.Add("rpz", "", rpz)
	f.Add("rpz", "", "$ORIGIN rpz.example.\n"+rpz)
	f.Add("rpz", "", "$TTL 1w\n@ SOA a. b. 1 2 3 4 5\n$GENERATE 1-300 host-$ A 192.0.2.1\n$INCLUDE /etc/passwd\n")
	f.Add("rpz", "", "32.1.2.0.192.rpz-ip CNAME .\n*.example CNAME *.garden.example.\n* CNAME .\nx TYPE65280 \\# 4 0a000001\n")
	x := newFront(f, setup{workers: 1, anything: true})
	plain := *x.settings.Load()
	peer := udp.Dest{Peer: netip.MustParseAddrPort("10.1.2.3:4567"), Local: netip.MustParseAddr("127.0.0.1")}
	var t turn
	out := make([]byte, dnswire.MaxMessage+1)
	f.Fuzz(func(tb *testing.T, format, action, text string) {
		b := &blockList{seed: maphash.MakeSeed(), ede: dnswire.EDEBlocked, max: 1000}
		rep := blockReport{file: "list"}
		var err error
		if format == "rpz" {
			err = b.readRPZ(strings.NewReader(text), &rep)
		} else {
			b.rules = []blockRule{actionRule(action)}
			err = b.readLines(strings.NewReader(text), format == "hosts", &rep)
		}
		if (rep.ignored > 0) != (rep.example != "") || len(rep.example) > 400 {
			tb.Fatalf("%d lines are ignored: %q", rep.ignored, rep.example)
		}
		if b.exact.count > b.max+1 || b.below.count > b.max+1 {
			tb.Fatalf("%d and %d names", b.exact.count, b.below.count)
		}
		if err != nil {
			return
		}
		root := []byte{0}
		if b.exact.find(maphash.Bytes(b.seed, root), root) >= 0 && format != "rpz" {
			tb.Fatal("the root is blocked")
		}
		set := plain
		set.block = []*blockList{b}
		x.settings.Store(&set)
		for i, names := range [][]byte{b.exact.names, b.below.names} {
			for asked := 0; len(names) > 0 && asked < 20; asked++ {
				end := dnswire.SkipName(names, 0)
				name := names[:end:end]
				names = names[end:]
				if i == 1 {
					name = append([]byte{1, 'x'}, name...)
				}
				if len(name) > dnswire.MaxName {
					continue
				}
				if b.find(name) == nil {
					tb.Fatalf("%q is not blocked", dnswire.NameString(name))
				}
				for _, typ := range []uint16{dnswire.TypeA, dns.TypeTXT, dnswire.TypeANY} {
					m := append(binary.BigEndian.AppendUint16([]byte{7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, 0)[:12], name...)
					m = append(binary.BigEndian.AppendUint16(m, typ), 0, 1)
					book := &x.async[0].book
					book.mu.Lock()
					t.begin(x.Service, book)
					n, r := x.serve(&t, TCP, &peer, m, out)
					if r == missed { // nobody asks
						book.Queries[TCP]--
					}
					book.mu.Unlock()
					if r != answered {
						continue
					}
					var got dns.Msg
					var reply dnswire.Reply
					if got.Unpack(out[:n]) != nil && dnswire.ParseReply(out[:n], &reply) != nil || !bytes.Equal(out[:2], m[:2]) || out[2]&0x80 == 0 || n > dnswire.MaxMessage {
						tb.Fatalf("%s: %x", dnswire.NameString(name), out[:n])
					}
				}
			}
		}
	})
}

// FuzzSnapshot: of a file that is not whole nothing is used, with a check sum that is right
// too; what is used can be asked for, and no more is kept than the cache may have.
func FuzzSnapshot(f *testing.F) {
	dir := f.TempDir()
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	path := filepath.Join(dir, "cache")
	c := testCache(f, cacheLimits{entries: 100})
	for _, name := range []string{"www.example.", "ftp.example.", "."} {
		key := cacheKey(name)
		c.put(key, c.hash(key), 0, cacheAnswer(key, 60, 70))
	}
	if _, err := c.save(path, now, 0); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, true)
	f.Add(good[:len(good)/2], true)
	f.Add(good, false)
	f.Add([]byte(snapshotMagic+"\x00\x00\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), true)
	f.Fuzz(func(t *testing.T, b []byte, whole bool) {
		if whole && len(b) >= 4 {
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c := newCache(cacheLimits{entries: 50})
		defer c.close()
		n, err := c.load(path, now.Add(time.Second), 0, c.hash)
		entries, _ := c.size()
		if err != nil && (n != 0 || entries != 0) {
			t.Fatalf("%d records and %d entries of a file that is not one: %v", n, entries, err)
		}
		if entries > n || entries > 100 { // an entry of a kind may stand above the bound until the next is put
			t.Fatalf("%d entries of %d records", entries, n)
		}
		if _, err := c.save(path, now, 0); err != nil {
			t.Fatal(err)
		}
		if again, err := c.load(path, now, 0, c.hash); err != nil || again > n {
			t.Fatalf("%d records were read, and %d after they were written: %v", n, again, err)
		}
	})
}

// FuzzCookieSecrets: a file of secrets is read or refused; no secret stands in an error, and
// each of those that are read signs a cookie that is good.
func FuzzCookieSecrets(f *testing.F) {
	f.Add([]byte("# first signs\n00112233445566778899aabbccddeeff\n\n0123456789abcdef0123456789abcdef\n"))
	f.Add([]byte("0011223344556677\n"))
	f.Add([]byte(strings.Repeat("ab", 40000)))
	path := filepath.Join(f.TempDir(), "cookies")
	client := netip.MustParseAddr("2001:db8::1")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		secrets, err := readCookieSecrets(path)
		if err != nil {
			for line := range strings.Lines(string(b)) {
				if line = strings.TrimSpace(line); len(line) >= 16 && !strings.Contains(path, line) && strings.Contains(err.Error(), line) {
					t.Fatalf("a secret is told: %v", err)
				}
			}
			return
		}
		for i, k := range secrets {
			if !strings.Contains(strings.ToLower(string(b)), hex.EncodeToString(k[:])) {
				t.Fatalf("%x is not in the file", k)
			}
			var cookie [fullCookie]byte
			secrets[i:].sign(&cookie, client, 1000)
			if !secrets.valid(cookie[:], client, 1001) {
				t.Fatalf("secret %d signs what is not good", i)
			}
		}
	})
}

// FuzzRewrittenReply: an answer that is made of a backend's parses, has the client's question,
// and no address outside the prefix.
func FuzzRewrittenReply(f *testing.F) {
	d := newDNS64(&DNS64Config{Prefix: "64:ff9b::/96"})
	question := binary.BigEndian.AppendUint16(cacheKey("www.example.")[:13:13], dnswire.TypeAAAA)
	question = append(question, 0, dns.ClassINET)
	m := asking("www.example.", dns.TypeA)
	m.Response = true
	for _, rr := range []string{"www.example. 900 IN CNAME real.example.", "real.example. 1000 IN A 192.0.2.1", "real.example. 1000 IN AAAA 2001:db8::1"} {
		m.Answer = append(m.Answer, mustRR(f, rr))
	}
	f.Add(packed(f, m), true)
	f.Add(packed(f, m), false)
	f.Fuzz(func(t *testing.T, m []byte, six bool) {
		var r dnswire.Reply
		if dnswire.ParseReply(m, &r) != nil {
			return
		}
		d.usable(m, &r)
		kind := rewriteCNAME
		if six {
			kind = rewriteA
		}
		out := made(d, kind, question, m, 600)
		if out == nil {
			return
		}
		var got dns.Msg
		if err := got.Unpack(out); err != nil || len(out) > dnswire.MaxMessage || len(got.Question) != 1 || got.AuthenticatedData || dnswire.ParseReply(out, &r) != nil {
			t.Fatalf("%v: %x of %x", err, out, m)
		}
		if !six && got.Question[0].Name != "www.example." || six && got.Question[0].Qtype != dns.TypeAAAA {
			t.Fatalf("the question is %s", &got.Question[0])
		}
	})
}
