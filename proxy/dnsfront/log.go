package dnsfront

import (
	"errors"
	"syscall"

	"go.uber.org/zap"

	"sereno/proxy/dnswire"
	"sereno/proxy/insight"
	"sereno/proxy/pool"
)

// logger writes what an operator wants to know and no more often than he wants to: what
// a packet can cause is counted and summed up.
type logger struct {
	always  *zap.Logger
	repeats *insight.Repeats
}

func newLogger(l *zap.Logger, service string) logger {
	if l == nil {
		l = zap.NewNop()
	}
	l = l.With(zap.String("service", service))
	return logger{always: l, repeats: insight.NewRepeats(l)}
}

// warn says a line that may come again and again.
func (l logger) warn(text string, about zap.Field, fields ...zap.Field) {
	l.repeats.Line(zap.WarnLevel, text, about).Say(func() []zap.Field { return fields })
}

func (l logger) dialFailed(b *pool.Backend, err error) {
	l.warn("no socket towards a backend", zap.String("backend", b.Name()), zap.Error(err))
}

func (l logger) acceptFailed(at *listener, err error) {
	l.warn("taking a connection", zap.String("address", at.addr.String()), zap.Error(err))
}

func (l logger) closeFailed(err error) {
	l.warn("closing a socket", zap.Skip(), zap.Error(err))
}

func (l logger) workerFailed(id int, err error) {
	l.always.Error("a worker ended", zap.Int("worker", id), zap.Error(err))
}

func (l logger) guessing(b *pool.Backend, f *flight) {
	l.repeats.Line(zap.WarnLevel, "several replies with a wrong id or question: somebody may be guessing; asking over TCP", zap.String("backend", b.Name())).
		Say(func() []zap.Field { return []zap.Field{zap.String("name", dnswire.NameString(f.name()))} })
}

func (l logger) snapshotIgnored(err error) {
	l.always.Warn("the cache begins empty", zap.Error(err))
}

func (l logger) snapshotStays(err error) {
	l.always.Warn("after a crash, what was flushed may be in the cache again: its snapshot could not be removed", zap.Error(err))
}

func (l logger) snapshotLoaded(n int) {
	l.always.Info("cache loaded from its snapshot", zap.Int("entries", n))
}

func (l logger) snapshotSaved(n int) {
	l.always.Info("cache written to its snapshot", zap.Int("entries", n))
}

func (l logger) certificate(c *certificate, err error) {
	if err != nil {
		l.always.Error("a changed certificate cannot be used; the old one stays", zap.String("certificate", c.cert), zap.Error(err))
		return
	}
	l.always.Info("a changed certificate was taken up", zap.String("certificate", c.cert))
}

func (l logger) blockLists(said []blockReport) {
	for _, r := range said {
		l.always.Info("block list loaded", zap.String("file", r.file), zap.Int("names", r.names))
		if r.ignored > 0 {
			l.always.Warn("lines of a block list were not understood", zap.String("file", r.file), zap.Int("lines", r.ignored), zap.String("first", r.example))
		}
	}
}

// errnoOf finds the system's error in err.
func errnoOf(err error) (syscall.Errno, bool) {
	var errno syscall.Errno
	ok := errors.As(err, &errno)
	return errno, ok
}
