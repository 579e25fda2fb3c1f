package app

import (
	"fmt"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

// stuckAfter is how long a worker may take for one turn before it counts as stuck. An
// idle one turns once a second.
const stuckAfter = 5 * time.Second

// watchdog tells systemd that this process works (O23): every worker of every service
// has turned its loop lately, and the last self-probes passed. What systemd can heal
// by a restart enters, and nothing else: no backend, no route, no address that the
// host does not have.
type watchdog struct {
	node    *Node
	turned  map[front][]workerTurns
	starved bool // it was not fed the last time
}

// workerTurns is when a worker's count of turns was last seen to change.
type workerTurns struct {
	turns uint64
	at    time.Time
}

// startWatchdog feeds systemd's watchdog, where WATCHDOG_USEC asks for it, three times
// in its time. It ends with the returned function.
func (n *Node) startWatchdog() (stop func()) {
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("systemd's watchdog is not fed", zap.Error(err))
	}
	if err != nil || within == 0 {
		return func() {}
	}
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		w := watchdog{node: n, turned: map[front][]workerTurns{}}
		every := time.NewTicker(within / 3)
		defer every.Stop()
		for {
			w.feed(n.now())
			select {
			case <-over:
				return
			case <-every.C:
			}
		}
	}()
	return func() { close(over); <-ended }
}

// feed feeds the watchdog if all is well; a node that stops has its own limits of time.
func (w *watchdog) feed(now time.Time) {
	why := w.trouble(now)
	if starved := why != "" && !w.node.stopping.Load(); starved != w.starved {
		w.starved = starved
		if starved {
			w.node.log.Error("systemd's watchdog is not fed until this is over", zap.String("why", why))
		} else {
			w.node.log.Info("systemd's watchdog is fed again")
		}
	}
	if !w.starved {
		notify(w.node.log, daemon.SdNotifyWatchdog)
	}
}

// trouble says what does not work; "": nothing.
func (w *watchdog) trouble(now time.Time) string {
	fronts := w.node.shape.Load().fronts
	for f := range w.turned {
		if !slices.Contains(fronts, f) {
			delete(w.turned, f)
		}
	}
	for _, f := range fronts {
		turns := f.Turns()
		seen := w.turned[f]
		if len(seen) != len(turns) {
			seen = make([]workerTurns, len(turns))
			w.turned[f] = seen
		}
		for i, t := range turns {
			if seen[i].turns != t || seen[i].at.IsZero() {
				seen[i] = workerTurns{t, now}
			}
			if stuck := now.Sub(seen[i].at); stuck >= stuckAfter {
				return fmt.Sprintf("worker %d of service %s has not turned its loop for %s", i, f.name(), stuck.Round(time.Second))
			}
		}
	}
	if name, text := w.node.services.SelfProbeFails(); name != "" {
		return fmt.Sprintf("the self-probe of service %s fails: %s", name, text)
	}
	return ""
}
