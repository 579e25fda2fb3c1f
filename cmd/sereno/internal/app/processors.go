package app

import "runtime"

// processors gives the runtime one processor (GOMAXPROCS) more than there are workers: each service has one worker for
// each core, which nearly always holds one (package udp), and whatever else the node does needs another. How many cores
// are used stays with the workers; where a container or GOMAXPROCS gives the program fewer than the host has, there is
// only that one more, since threads beyond the quota would have all of them stopped. It never takes any away, so that a
// reload does not either.
func (n *Node) processors(services int) {
	want := n.o.Cores*services + 1
	if n.o.Cores < runtime.NumCPU() {
		want = min(want, n.o.Cores+1)
	}
	if n.o.Cores > 0 && want > runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(want)
	}
}

// leavers is how many services work beside those of moves until their last requests are
// answered: what a reload takes away, and what earlier ones did.
func (n *Node) leavers(running *shape, moves []move) int {
	leaving := len(running.fronts)
	for _, m := range moves {
		if m.old != nil {
			leaving--
		}
	}
	n.partingMu.Lock()
	defer n.partingMu.Unlock()
	return leaving + len(n.parting)
}
