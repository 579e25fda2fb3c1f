package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// terminal tells whether a stream is a terminal: somebody sits before it.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
