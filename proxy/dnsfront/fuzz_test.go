package dnsfront

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/proxy/dnswire"
	"sereno/proxy/pool"
	"sereno/proxy/udp"
)

// FuzzServe: no datagram hurts, and every answer parses, has the client's ID, and fits.
func FuzzServe(f *testing.F) {
	x := newFront(f, setup{workers: 1, anything: true})
	for _, q := range []*dns.Msg{asking("www.example.", dns.TypeA), withOPT(asking("www.example.", dns.TypeA), 512, true), asking("big.example.", dns.TypeA)} {
		x.ask(q)
		f.Add(packed(f, q))
	}
	var t turn
	peer := udp.Dest{Peer: netip.MustParseAddrPort("10.1.2.3:4567"), Local: netip.MustParseAddr("127.0.0.1")}
	f.Fuzz(func(tb *testing.T, m []byte) {
		for _, transport := range []Transport{UDP, TCP} {
			out := make([]byte, dnswire.MaxMessage+1)
			b := &x.async[0].book
			b.mu.Lock()
			t.begin(x.Service, b)
			n, r := x.serve(&t, transport, &peer, m, out)
			if r == missed { // nobody asks
				b.Queries[transport]--
			}
			b.mu.Unlock()
			if r != answered {
				continue
			}
			var msg dns.Msg
			if err := msg.Unpack(out[:n]); err != nil || !msg.Response || msg.Id != dnswire.ID(m) || n > int(t.a.limit) {
				tb.Fatalf("%x: %v, %d octets: %x", m, err, n, out[:n])
			}
		}
	})
}

// FuzzCacheAgreesWithOracle: what is stored comes back the same, but for its TTLs, which
// are lower by the age.
func FuzzCacheAgreesWithOracle(f *testing.F) {
	key := cacheKey("www.example.")
	f.Add(cacheAnswer(key, 300, 200).msg, uint16(100))
	c := testCache(f, cacheLimits{entries: 10000, negativeShare: 0.5})
	f.Fuzz(func(t *testing.T, m []byte, age uint16) {
		var r dnswire.Reply
		var before, after dns.Msg
		if dnswire.ParseReply(m, &r) != nil || before.Unpack(m) != nil || len(m) > 8000 {
			return
		}
		m, err := dnswire.StripOPT(bytes.Clone(m), &r)
		if err != nil || before.Unpack(m) != nil {
			return
		}
		k := append(r.Key(nil, m), keyRD)
		if !c.put(k, c.hash(k), 0, &answer{msg: m, ttls: r.TTLs, life: 1 << 20}) {
			t.Fatal("not stored")
		}
		h, out, ok := c.testGet(k, tick(age)*ticksPerSecond, false)
		if !ok || !h.whole {
			t.Fatal("stored and not found")
		}
		if err := after.Unpack(out); err != nil {
			t.Fatal(err)
		}
		for _, section := range [][]dns.RR{before.Answer, before.Ns, before.Extra} {
			for _, rr := range section {
				h := rr.Header()
				if h.Ttl > 1<<31-1 {
					continue // read as 0, and left as it is on the wire until it is clamped
				}
				h.Ttl -= min(h.Ttl, uint32(age))
			}
		}
		same := func(a, b []dns.RR) bool {
			for i := range a {
				if a[i].Header().Ttl <= 1<<31-1 && i < len(b) && a[i].Header().Ttl != b[i].Header().Ttl {
					return false
				}
			}
			return len(a) == len(b)
		}
		if !same(before.Answer, after.Answer) || !same(before.Ns, after.Ns) || !same(before.Extra, after.Extra) {
			t.Fatalf("age %d, stored:\n%s\ngiven:\n%s", age, &before, &after)
		}
	})
}

// takes is a client that keeps its answer.
type takes struct{ got [][]byte }

func (k *takes) deliver(m []byte) bool {
	k.got = append(k.got, bytes.Clone(m))
	return true
}

// FuzzUpstreamReply: whatever a backend sends, the client gets one answer, to its own
// question.
func FuzzUpstreamReply(f *testing.F) {
	x := newFront(f, setup{workers: 1, backends: 1, anything: true, handle: func(*request) [][]byte { return nil },
		config: func(c *Config) { c.Cache.Enabled = false },
		pool: func(c *pool.Config) {
			c.Timeout, c.AttemptTimeout, c.Attempts = 20*time.Millisecond, 20*time.Millisecond, 1
		}})
	service, err := New(x.opts) // never started: this goroutine is its worker
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		service.abandon()
		if err := service.Close(context.Background()); err != nil {
			f.Error(err)
		}
	})
	w := service.workers[0]
	query := asking("www.example.", dns.TypeA)
	raw := packed(f, query)
	key := cacheKey("www.example.")
	good := cacheAnswer(key, 300).msg
	good[2] |= 0x80
	f.Add(good, true)
	f.Fuzz(func(t *testing.T, m []byte, rightID bool) {
		client := &takes{}
		m = bytes.Clone(m)
		w.book.mu.Lock()
		w.begin()
		if dnswire.ParseQuery(raw, &w.t.q) != dnswire.OK {
			t.Fatal("the query does not parse")
		}
		w.t.a.take(&w.t.q, TCP, 1232)
		w.t.target = nil
		w.t.book.Queries[TCP]++
		w.t.book.InFlight[TCP]++
		w.missOf(newWaiter(&w.t, raw, nil, udp.Dest{}, client), key, len(key)-1, w.s.hash(key))
		for _, up := range w.upstreams {
			for _, s := range up.sockets {
				for id := range s.ids {
					if rightID && len(m) >= 2 {
						dnswire.SetID(m, uint16(id)) //nolint:gosec // it is one
					}
					w.receive(s, m)
					break
				}
			}
		}
		w.book.mu.Unlock()
		x.later(time.Second) // what none of it answered is over
		w.Flush()
		if len(client.got) != 1 {
			t.Fatalf("%d answers", len(client.got))
		}
		for _, out := range client.got {
			if len(out) < len(raw) || !bytes.Equal(out[12:len(raw)], raw[12:]) || out[2]&0x82 != 0x80 {
				t.Fatalf("%x", out)
			}
		}
	})
}

// FuzzStream: whatever comes over a connection, it ends and the next one is served.
func FuzzStream(f *testing.F) {
	x := newFront(f, setup{anything: true})
	q := packed(f, asking("www.example.", dns.TypeA))
	f.Add(append([]byte{0, byte(len(q))}, q...))
	f.Add([]byte{0, 5, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := net.Dial("tcp", x.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(b); err != nil {
			return // it was closed before we were done
		}
		if t, ok := c.(interface{ CloseWrite() error }); ok {
			_ = t.CloseWrite()
		}
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && bytes.Contains([]byte(err.Error()), []byte("timeout")) {
			t.Fatal(err)
		}
	})
}

// FuzzHTTPS: a request is answered with DNS or with a status of its own, never both.
func FuzzHTTPS(f *testing.F) {
	x := newFront(f, setup{anything: true})
	l := &listener{s: x.Service, transport: HTTPS}
	q := packed(f, asking("www.example.", dns.TypeA))
	f.Add("POST", "/dns-query", mediaType, q)
	f.Add("GET", "/dns-query?dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlAAABAAE", "", []byte{})
	f.Fuzz(func(t *testing.T, method, target, kind string, body []byte) {
		r, err := http.NewRequestWithContext(withConn(t.Context(), &httpsConn{x: &x.streams}), method, "https://127.0.0.1"+target, bytes.NewReader(body))
		if err != nil {
			return
		}
		r.RemoteAddr = "10.0.0.1:1234"
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		l.request(w, r)
		if w.Code != http.StatusOK {
			return
		}
		// miekg/dns alone would not do: the backend here answers every type with the same RDATA, which passes as it
		// is (D05). ParseReply alone neither: an error may have no question.
		var m dns.Msg
		var reply dnswire.Reply
		answer := w.Body.Bytes()
		if w.Header().Get("Content-Type") != mediaType || m.Unpack(answer) != nil && dnswire.ParseReply(answer, &reply) != nil {
			t.Fatalf("%d %v %x", w.Code, w.Header(), w.Body.Bytes())
		}
	})
}
