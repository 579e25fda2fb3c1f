//go:build !race

package dnswire

import "testing"

func TestNothingOnTheWayAllocates(t *testing.T) {
	m, reply := query(t, "www.Example.com.", TypeA, true), sample(t)
	var q Query
	r := Reply{TTLs: make([]uint16, 0, 64)}
	buf, key := make([]byte, 0, 4096), make([]byte, 0, 300)
	if n := testing.AllocsPerRun(100, func() {
		if ParseQuery(m, &q) != OK || ParseReply(reply, &r) != nil {
			t.Fatal("does not parse")
		}
		key = q.AppendKey(key[:0], m)
		out := AppendReply(buf[:0], m, &q, FlagRA, ServFail)
		AddOPT(out, 1232, ServFail, true, nil)
		AppendUpstream(buf[:0], key, 1, q.Flags, 1232, true, nil)
		AgeTTLs(reply, r.TTLs, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
