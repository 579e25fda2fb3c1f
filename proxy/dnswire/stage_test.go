package dnswire

import "testing"

// stage is one thing that is done with a message on its way.
type stage struct {
	name string
	run  func()
}

// stages are all of them, each ready to be run again and again. alloc_test.go holds them to allocate nothing.
func stages(tb testing.TB) []stage {
	m, reply := query(tb, "www.Example.com.", TypeA, true), sample(tb)
	q, r := new(Query), &Reply{TTLs: make([]uint16, 0, 64)}
	buf, key := make([]byte, 0, 4096), make([]byte, 0, 300)
	if ParseQuery(m, q) != OK || ParseReply(reply, r) != nil {
		tb.Fatal("does not parse")
	}
	key = q.AppendKey(key, m)
	return []stage{
		{"decode query", func() { ParseQuery(m, q) }},
		{"decode reply", func() { _ = ParseReply(reply, r) }},
		{"key", func() { key = q.AppendKey(key[:0], m) }},
		{"age", func() { AgeTTLs(reply, r.TTLs, 0) }},
		{"encode answer", func() { AddOPT(AppendReply(buf[:0], m, q, FlagRA, ServFail), 1232, ServFail, true, nil) }},
		{"encode query", func() { AppendUpstream(buf[:0], key, 1, q.Flags, 1232, true, nil) }},
	}
}

func BenchmarkStage(b *testing.B) {
	for _, s := range stages(b) {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.run()
			}
		})
	}
}
