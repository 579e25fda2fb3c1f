package app

import "runtime"

// processors gives the runtime one processor (GOMAXPROCS) more than there are workers: each service has one worker for
// each core, which nearly always holds one (package udp), and whatever else the node does needs another. How many cores
// are used stays with the workers. It never takes any away, so that a reload does not either.
func (n *Node) processors(services int) {
	if want := n.o.Cores*services + 1; n.o.Cores > 0 && want > runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(want)
	}
}
