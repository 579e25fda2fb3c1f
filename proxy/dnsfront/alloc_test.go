//go:build !race

package dnsfront

import "testing"

func TestD37CacheHitAllocatesNothing(t *testing.T) {
	c := testCache(t, cacheLimits{entries: 1000})
	key := cacheKey("www.example.")
	c.put(key, c.hash(key), 0, cacheAnswer(key, 60, 60))
	buf := make([]byte, 512)
	var h hit
	if n := testing.AllocsPerRun(1000, func() {
		if !c.get(key, c.hash(key), 16, buf, 512, true, 30, &h) {
			t.Fatal("miss")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
