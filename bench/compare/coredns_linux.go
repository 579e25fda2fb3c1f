package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// corednsVersion is what is built.
	corednsVersion = "v1.14.2"
	// corednsPatience bounds the build; a second one finds everything in Go's caches.
	corednsPatience = 6 * time.Minute
)

// corednsMain is CoreDNS with the plugins of conf/Corefile.
const corednsMain = `package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/multisocket"
)

func main() { coremain.Run() }
`

// BuildCoreDNS builds it in dir, in a module of its own, from Go's module proxy, and gives the program's path. The
// product's modules do not know of it.
func BuildCoreDNS(ctx context.Context, dir string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, corednsPatience, errors.New("it took too long"))
	defer cancel()
	for name, text := range map[string]string{"go.mod": "module coredns\n\ngo 1.25\n", "main.go": corednsMain} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("writing %s: %w", name, err)
		}
	}
	for _, args := range [][]string{{"get", "github.com/coredns/coredns@" + corednsVersion}, {"build", "-o", "coredns", "."}} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		if out, err := cmd.CombinedOutput(); err != nil {
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			return "", fmt.Errorf("go %s: %w: %s", args[0], errors.Join(context.Cause(ctx), err), lines[len(lines)-1])
		}
	}
	return filepath.Join(dir, "coredns"), nil
}
