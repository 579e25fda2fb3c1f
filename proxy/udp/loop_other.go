//go:build !linux

package udp

func newLoop(g *Group, _ bool) (loop, error) { return newPlain(g), nil }
