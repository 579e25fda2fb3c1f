package speaker

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"

	"github.com/osrg/gobgp/v3/pkg/log"
	wire "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// logger keeps from GoBGP's log what its API does not tell: why a session fell
// and why a connection failed. The latter is logged at debug level only, so
// that is the level it claims.
type logger struct {
	out io.Writer

	mu      sync.Mutex
	words   string // newest reason, in words
	why     string // of failing writes, where it is known
	fresh   bool   // noted since the last call of takeFresh
	printed string
}

// writeFailed are the words for a session that fell because a write failed.
const writeFailed = "session fell: writing to the neighbor failed"

// note keeps the reason; the same one again and again is printed once. Where it is known why writes fail, that is the
// reason, not that they did.
func (l *logger) note(words string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why != "" && (words == writeFailed || strings.HasPrefix(words, "failed to send: ")) {
		words = l.why
	}
	l.words, l.fresh = words, true
	if words != l.printed {
		l.printed = words
		fmt.Fprintln(l.out, words)
	}
}

// explain says why every write will fail; "": they should not.
func (l *logger) explain(why string) {
	l.mu.Lock()
	l.why = why
	l.mu.Unlock()
	if why != "" {
		l.note(why)
	}
}

// lastError is the newest reason, "" if there was none.
func (l *logger) lastError() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.words
}

// takeFresh tells whether a reason was noted since the last call.
func (l *logger) takeFresh() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.fresh
	l.fresh = false
	return was
}

// Panic must panic: the state machine relies on not going on.
func (l *logger) Panic(msg string, fields log.Fields) { panic("gobgp: " + render(msg, fields)) }

// Fatal ends the process like a panic, so that the node sees its last words.
func (l *logger) Fatal(msg string, fields log.Fields) { panic("gobgp: fatal: " + render(msg, fields)) }

func (l *logger) Error(msg string, fields log.Fields) { l.note(render(msg, fields)) }

func (l *logger) Warn(msg string, fields log.Fields) {
	switch msg {
	case "received notification":
		l.note("the neighbor sent " + notification(fields))
	case "sent notification":
		if e, ok := fields["Data"].(error); ok {
			l.note("sent a notification: " + e.Error())
			return
		}
		l.note("sent " + notification(fields))
	case "Closed an accepted connection", "active conn is closed to avoid being blocked":
	default:
		l.note(render(msg, fields))
	}
}

func (l *logger) Info(msg string, fields log.Fields) {
	if msg != "Peer Down" {
		return
	}
	switch reason := fmt.Sprint(fields["Reason"]); reason {
	case "read-failed":
		l.note("session fell: the connection was lost or closed by the neighbor")
	case "write-failed":
		l.note(writeFailed)
	case "hold-timer-expired":
		l.note("session fell: hold timer expired, the neighbor was silent")
	default:
		// A notification was noted with its words already.
		// "dying" and "admin-down" are our own doing.
		if !strings.HasPrefix(reason, "notification-") && reason != "dying" && reason != "admin-down" {
			l.note("session fell: " + reason)
		}
	}
}

func (l *logger) Debug(msg string, fields log.Fields) {
	if msg == "failed to connect" {
		l.note("connecting: " + dialWords(fields["Error"]))
	}
}

// SetLevel does nothing: the level is needed as it is.
func (l *logger) SetLevel(log.LogLevel) {}

// GetLevel is asked by GoBGP before it builds a debug message.
func (l *logger) GetLevel() log.LogLevel { return log.DebugLevel }

// dialWords is the kernel's word for a failed connection, without addresses,
// so that the same failure is the same words each time.
func dialWords(v any) string {
	err, ok := v.(error)
	if !ok {
		return fmt.Sprint(v)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "no answer (host or port unreachable, a filter, or another MD5 password)"
	}
	return err.Error()
}

// notification renders code, subcode and the text that a router may send with
// them (RFC 4271 §4.5, RFC 9003).
func notification(f log.Fields) string {
	code, _ := f["Code"].(uint8)
	subcode, _ := f["Subcode"].(uint8)
	s := "a notification: " + wire.NewNotificationErrorCode(code, subcode).String()
	if text, _ := f["Communicated-Reason"].(string); text != "" {
		s += ": " + text
	}
	return s
}

func render(msg string, f log.Fields) string {
	for _, key := range []string{"Error", "error", "Data", "Reason"} {
		if v, ok := f[key]; ok {
			return fmt.Sprintf("%s: %v", msg, v)
		}
	}
	return msg
}
