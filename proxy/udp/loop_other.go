//go:build !linux

package udp

func newLoop(g *Group, _ bool) (loop, error) { return newPlain(g), nil }

// JoinedMemory is 0: datagrams are not joined here.
func JoinedMemory(int) int { return 0 }
