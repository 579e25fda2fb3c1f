package udp

func newLoop(g *Group, plain bool) (loop, error) {
	if plain {
		return newPlain(g), nil
	}
	return newBatched(g)
}
