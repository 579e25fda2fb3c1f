package app

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"sereno/config"
)

// Run runs a node until it is told to stop by SIGTERM or SIGINT; a second such
// signal stops it at once. SIGHUP reloads. Logs go to w. The error is of the
// start: *config.Error for a configuration that is wrong.
func Run(o Options, w io.Writer) error {
	signal.Ignore(syscall.SIGPIPE) // or a journal that ends would end the node
	c, report := config.Load(o.Path, config.Options{})
	if err := report.Err(); err != nil {
		return err
	}
	log, level, lines, err := newLogger(w, c.Log.Level, c.Log.Format)
	if err != nil {
		return err
	}
	defer func() { _ = lines.Sync() }() // it waits for a second, and never fails
	o.lost = lines.Lost
	log = log.With(zap.String("node", c.Node.Name))
	for _, warning := range report.Warnings {
		log.Warn("configuration: " + warning.String())
	}

	stops, reloads, end := hear()
	defer end()

	n, err := start(c, o, log, level)
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	log.Info("running", zap.String("version", o.Build.Version), zap.String("config", o.Path), zap.Int("services", len(n.shape.Load().fronts)))
	notify(log, daemon.SdNotifyReady)
	defer n.startWatchdog()()
	n.serve(stops, reloads)
	log.Info("stopped")
	return nil
}

// hear begins to take signals. Each kind has its own room: however many reloads are asked
// for while one is under way, they are one more, and no stop is lost behind them.
func hear() (stops, reloads <-chan os.Signal, end func()) {
	stop, reload := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(reload, syscall.SIGHUP)
	return stop, reload, func() { signal.Stop(stop); signal.Stop(reload) }
}

// serve follows signals until the node has stopped. A reload is made beside it, so that a
// stop is heard meanwhile.
func (n *Node) serve(stops, reloads <-chan os.Signal) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go n.reloadBySignals(ctx, reloads)
	var stopped chan struct{}
	for {
		select {
		case <-stopped:
			return
		case s := <-stops:
			if stopped != nil {
				n.log.Warn("stopping at once", zap.Stringer("signal", s))
				cancel()
				continue
			}
			n.log.Info("stopping: routes first, then what is in flight", zap.Stringer("signal", s))
			notify(n.log, daemon.SdNotifyStopping)
			stopped = make(chan struct{})
			go func() { defer close(stopped); n.stop(ctx) }()
		}
	}
}

// reloadBySignals reloads, once after another, until ctx ends.
func (n *Node) reloadBySignals(ctx context.Context, reloads <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-reloads:
			if n.stopping.Load() {
				n.log.Warn("not reloading: the node is stopping")
				continue
			}
			n.reloadBySignal(ctx)
		}
	}
}

// reloadBySignal reloads as SIGHUP asks for: never to a node without routes. The
// outcome is logged by Reload.
func (n *Node) reloadBySignal(ctx context.Context) {
	notify(n.log, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec())
	changes, err := n.Reload(ctx, false)
	if err == nil {
		for _, c := range changes.Changes {
			n.log.Info("changed", zap.String("key", c.Key), zap.String("how", c.Action), zap.String("text", c.Text))
		}
	}
	if !n.stopping.Load() {
		notify(n.log, daemon.SdNotifyReady)
	}
}

// notify tells systemd, where there is one.
func notify(log *zap.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("telling systemd", zap.Error(err))
	}
}
