package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Binary gives the absolute path of the node's binary: the given one, or, if that is "", one that is built from this
// module. done removes what was built.
func Binary(ctx context.Context, given string) (path string, done func(), err error) {
	done = func() {}
	if given == "" {
		folder, err := os.MkdirTemp("", "sereno-lab-")
		if err != nil {
			return "", done, err
		}
		done = func() { _ = os.RemoveAll(folder) }
		given = filepath.Join(folder, "sereno")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", given, "sereno/cmd/sereno").CombinedOutput(); err != nil {
			done()
			return "", func() {}, fmt.Errorf("building sereno: %w\n%s", err, out)
		}
	}
	path, err = filepath.Abs(given) // it is started from another directory
	return path, done, err
}
