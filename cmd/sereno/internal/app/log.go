package app

import (
	"fmt"
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger writes to w, one line for each entry: for people ("console") or for
// machines ("json"). The level may be changed while it runs. Who logs does not wait
// for w: call Sync of the lines at the end.
func newLogger(w io.Writer, level, format string) (*zap.Logger, zap.AtomicLevel, *logLines, error) {
	at, err := zap.ParseAtomicLevel(level)
	if err != nil {
		return nil, at, nil, fmt.Errorf("log.level: %w", err)
	}
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.ISO8601TimeEncoder
	c.EncodeDuration = zapcore.StringDurationEncoder
	var encoder zapcore.Encoder
	switch format {
	case "json":
		encoder = zapcore.NewJSONEncoder(c)
	case "console":
		c.EncodeLevel = zapcore.CapitalLevelEncoder
		c.ConsoleSeparator = "  "
		encoder = zapcore.NewConsoleEncoder(c)
	default:
		return nil, at, nil, fmt.Errorf("log.format: %q is neither console nor json", format)
	}
	lines := &logLines{w: w}
	log := zap.New(zapcore.NewCore(encoder, lines, at))
	lines.tell = func(lost uint64) {
		log.Warn("log lines were lost: whoever reads the log did not take them in time", zap.Uint64("lost", lost))
	}
	return log, at, lines, nil
}
