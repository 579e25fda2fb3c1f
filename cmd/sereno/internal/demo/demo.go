package demo

import (
	"context"
	"errors"
	"io"
	"time"
)

// Options of Run.
type Options struct {
	Once bool      // end after the story
	In   io.Reader // commands of the player, line by line
	Out  io.Writer
}

// running is the world that runs.
type running struct{ *stage }

func (running) now() time.Time { return time.Now() }

func (running) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run plays the demo until its end (Once) or until ctx ends. The error is ErrLost when the clients lost something
// (the last line has told it), else of what could not be started or has ended before its time.
func Run(ctx context.Context, o Options) error {
	n := newNarrator(o.Out, time.Now)
	st, err := newStage()
	if err != nil {
		return err
	}
	s := &story{narrator: n, w: running{st}}
	err = s.tell(ctx, func() error {
		if o.Once {
			return nil
		}
		return s.play(ctx, o.In, st)
	})
	return errors.Join(err, st.close())
}

// tell is the whole story, with an interlude before its end.
func (s *story) tell(ctx context.Context, interlude func() error) error {
	for _, act := range []func(context.Context) error{s.begin, s.outage, s.recovery} {
		if err := act(ctx); err != nil {
			return s.broken(err)
		}
	}
	if err := interlude(); err != nil {
		return s.broken(err)
	}
	return s.end()
}

// errInterrupted is an end before the end: nothing is known about what was lost.
var errInterrupted = errors.New("interrupted before the end of the story")

// broken ends a story that could not be told to its end.
func (s *story) broken(err error) error {
	s.plain("")
	if errors.Is(err, context.Canceled) {
		s.plain("demo: interrupted")
		return errInterrupted
	}
	s.plain("%v", err)
	s.plain("demo: LOST the end of the story: see above")
	return ErrLost
}
