package pool

import (
	"fmt"
	"testing"
	"time"
)

func BenchmarkPick(b *testing.B) {
	for _, balance := range allPolicies {
		for _, n := range []int{2, 8, 64} {
			b.Run(fmt.Sprintf("%s/%d", balance, n), func(b *testing.B) {
				g := benchGroup(b, balance, n)
				b.ReportAllocs()
				key := uint64(0)
				for b.Loop() {
					key += 0x9e3779b97f4a7c15
					g.Pick(key, nil).Done()
				}
			})
		}
	}
}

func BenchmarkPickParallel(b *testing.B) {
	for _, balance := range allPolicies {
		for _, n := range []int{2, 64} {
			b.Run(fmt.Sprintf("%s/%d", balance, n), func(b *testing.B) {
				g := benchGroup(b, balance, n)
				b.RunParallel(func(pb *testing.PB) {
					key := uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
					for pb.Next() {
						key += 0x9e3779b97f4a7c15
						g.Pick(key, nil).Done()
					}
				})
			})
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	g := benchGroup(b, "random", 2)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			g.Request()
		}
	})
}

// BenchmarkRebuild is what a change of a verdict costs.
func BenchmarkRebuild(b *testing.B) {
	for _, balance := range allPolicies {
		for _, n := range []int{2, 64} {
			b.Run(fmt.Sprintf("%s/%d", balance, n), func(b *testing.B) {
				g := benchGroup(b, balance, n)
				b.ReportAllocs()
				for b.Loop() {
					g.healthChanged(true)
				}
			})
		}
	}
}

func benchGroup(b *testing.B, balance string, n int) *Pool {
	b.Helper()
	return newGroup(b, balance, equals(n)...).Pool
}
