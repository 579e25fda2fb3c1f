package insight

import (
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// repeatInterval is how long a kind of line is counted before its sum is written.
	repeatInterval = time.Minute
	// maxLines bounds the kinds of lines of one Repeats: what is about more subjects shares one.
	maxLines = 1024
)

// Repeats are the log lines that a packet, a stranger or a lasting trouble can cause any number of times. The first of
// a kind is written at once. Those that follow within a minute are counted, and their number is written at its end;
// so a flood costs one line a minute for each kind. A change of state is no such line: each of them is written.
//
// Safe for concurrent use.
type Repeats struct {
	log *zap.Logger

	mu    sync.Mutex
	lines map[string]*Line
}

// NewRepeats writes to log; nil: nowhere.
func NewRepeats(log *zap.Logger) *Repeats {
	if log == nil {
		log = zap.NewNop()
	}
	return &Repeats{log: log, lines: map[string]*Line{}}
}

// Line is one kind of line.
type Line struct {
	repeats *Repeats
	level   zapcore.Level
	text    string
	about   []zap.Field

	mu    sync.Mutex
	quiet bool // the first was written less than an interval ago, or others were counted since
	more  uint64
	timer *time.Timer
}

// Line finds or makes the kind of line with this text about these subjects, which must be strings. Callers that say it
// often keep it.
func (r *Repeats) Line(level zapcore.Level, text string, about ...zap.Field) *Line {
	key := text
	for _, f := range about {
		key += "\x00" + f.String
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lines[key]
	if l == nil && len(r.lines) >= maxLines {
		about, key = nil, text
		l = r.lines[key]
	}
	if l == nil {
		l = &Line{repeats: r, level: level, text: text, about: about}
		r.lines[key] = l
	}
	return l
}

// Say writes the line with fields if it is the first for a while, else counts it. fields is called only if the line is
// written; nil: none.
func (l *Line) Say(fields func() []zap.Field) {
	if !l.first() {
		return
	}
	all := l.about
	if fields != nil {
		all = append(all[:len(all):len(all)], fields()...)
	}
	l.repeats.log.Log(l.level, l.text, all...)
}

// first tells whether a line is to be written now.
func (l *Line) first() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.quiet {
		l.more++
		return false
	}
	l.quiet = true
	if l.timer == nil {
		l.timer = time.AfterFunc(repeatInterval, l.sum)
	} else {
		l.timer.Reset(repeatInterval)
	}
	return true
}

// sum writes how many lines were counted, at the end of an interval.
func (l *Line) sum() {
	l.mu.Lock()
	n := l.more
	l.more = 0
	if l.quiet = n > 0; l.quiet {
		l.timer.Reset(repeatInterval)
	}
	l.mu.Unlock()
	l.say(n, " times in the last "+strconv.Itoa(int(repeatInterval/time.Second))+" s")
}

func (l *Line) say(n uint64, when string) {
	if n > 0 {
		l.repeats.log.Log(l.level, l.text+": "+grouped(n)+when, l.about...)
	}
}

// Close writes what was counted, and no more sums by itself. Lines may still be said.
func (r *Repeats) Close() {
	r.mu.Lock()
	lines := make([]*Line, 0, len(r.lines))
	for _, l := range r.lines {
		lines = append(lines, l)
	}
	r.mu.Unlock()
	for _, l := range lines {
		l.mu.Lock()
		n := l.more
		l.more, l.quiet = 0, false
		if l.timer != nil {
			l.timer.Stop()
		}
		l.mu.Unlock()
		l.say(n, " times more")
	}
}

// grouped is a number with its thousands apart: 1,204.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Logger is for libraries that want a logger of their own: whatever they write is this kind of line, with their text as
// a field.
func (l *Line) Logger() *zap.Logger { return zap.New(lineCore{l}) }

// lineCore is a core that says a Line for each entry.
type lineCore struct{ *Line }

// Enabled takes every level.
func (c lineCore) Enabled(zapcore.Level) bool { return true }

// With leaves the fields out.
func (c lineCore) With([]zapcore.Field) zapcore.Core { return c }

// Check takes every entry.
func (c lineCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return to.AddCore(e, c)
}

// Write says the line.
func (c lineCore) Write(e zapcore.Entry, _ []zapcore.Field) error {
	c.Say(func() []zap.Field { return []zap.Field{zap.String("text", e.Message)} })
	return nil
}

// Sync does nothing.
func (c lineCore) Sync() error { return nil }
