package health

import (
	"errors"
	"syscall"
)

// classify says what a socket error means for a backend's health.
func classify(err error) (Reason, string) {
	if err == nil {
		return ReasonUnreachable, "unreachable"
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if errno == syscall.ECONNREFUSED {
			return ReasonRefused, "the port is closed (" + errno.Error() + ")"
		}
		return ReasonUnreachable, errno.Error()
	}
	return ReasonUnreachable, err.Error()
}
