package radiusfront

import (
	"math/rand/v2"
	"testing"
)

// TestR50SessionTableFindsWhatIsInIt: by each of its keys, whatever came and went, and also
// where many share one.
func TestR50SessionTableFindsWhatIsInIt(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	var table sessionTable
	in := map[sessionRef]session{}
	var age []sessionRef // oldest first
	leave := func(i int) {
		table.remove(age[i])
		delete(in, age[i])
		age = append(age[:i], age[i+1:]...)
	}
	for step := range 30_000 {
		switch at := rng.IntN(10); {
		case at < 6 || len(age) == 0:
			// A few users and many sessions of each; keys that share buckets and shards; some without.
			table.insert(session{sessionKeys: sessionKeys{id: rng.Uint64() | 1, user: uint64(1 + rng.IntN(5)), ip: uint64(rng.IntN(50)) << 55, caller: uint64(step)}})
			r := table.newest
			if _, taken := in[r]; taken || r == 0 {
				t.Fatalf("number %d is given twice", r)
			}
			in[r] = *table.at(r)
			age = append(age, r)
		case at < 8:
			leave(rng.IntN(len(age)))
		default:
			i := rng.IntN(len(age))
			r := age[i]
			table.renew(r)
			age = append(append(age[:i], age[i+1:]...), r)
		}
		if len(age) > 3000 {
			if table.oldest != age[0] {
				t.Fatalf("the oldest is %d, want %d", table.oldest, age[0])
			}
			leave(0)
		}
		if table.n != len(in) {
			t.Fatalf("%d sessions, want %d", table.n, len(in))
		}
	}
	for by := range sessionIndexes {
		want := map[uint64]int{}
		for _, e := range in {
			want[e.key(by)]++
		}
		delete(want, 0)
		for key, n := range want {
			got := 0
			for r := table.first(by, key); r != 0; r = table.next(by, r) {
				e, known := in[r]
				if got++; !known || e.sessionKeys != table.at(r).sessionKeys || e.key(by) != key {
					t.Fatalf("by %d: %d is found and is not there", by, r)
				}
			}
			if got != n {
				t.Fatalf("by %d, key %x: %d sessions, want %d", by, key, got, n)
			}
		}
	}
	for len(age) > 0 {
		leave(len(age) - 1)
	}
	if table.n != 0 || table.newest != 0 || table.oldest != 0 || table.first(byUser, 1) != 0 {
		t.Errorf("left: %d, newest %d, oldest %d", table.n, table.newest, table.oldest)
	}
}

// BenchmarkSessions is an interim update of a session that was not known, in a full table,
// of a thousand users.
func BenchmarkSessions(b *testing.B) {
	var table sessionTable
	n := uint64(0)
	add := func() {
		n++
		table.insert(session{sessionKeys: sessionKeys{id: mix(n) | 1, user: mix(n%1000) | 1}})
	}
	for range maxSessions {
		add()
	}
	b.ReportAllocs()
	for b.Loop() {
		table.remove(table.oldest)
		add()
	}
}
