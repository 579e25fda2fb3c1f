// Package deploy_test proves what is installed: the image's root file system, the Debian package, and that the same
// commit gives the same bytes. It runs with SERENO_E2E=1, as root; nothing stays on the machine.
package deploy_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func endToEnd(t *testing.T, programs ...string) {
	t.Helper()
	if os.Getenv("SERENO_E2E") == "" {
		t.Skip("SERENO_E2E=1 runs it")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatal(err)
		}
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errs.Bytes())
	}
	return string(out)
}

// alone runs a script in mount, PID and network namespaces of its own.
func alone(t *testing.T, script string, args ...string) {
	t.Helper()
	output(t, "unshare", append([]string{"--mount", "--pid", "--fork", "--mount-proc", "--net", "--kill-child", "bash", script}, args...)...)
}

// The image is what the Dockerfile copies: it serves as an ordinary user without a
// capability, on a file system that nobody can write to.
func TestO31ImageServesWithoutRights(t *testing.T) {
	endToEnd(t, "unshare", "dig", "ip")
	root := t.TempDir()
	output(t, "./package", "rootfs", root)
	config, err := os.ReadFile("sereno.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config = bytes.Replace(config, []byte("node:\n"), []byte("node:\n  name: image\n"), 1)
	if err := os.WriteFile(filepath.Join(root, "etc/sereno/sereno.yaml"), config, 0o644); err != nil { //nolint:gosec // read by another user
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil { //nolint:gosec // entered by another user
		t.Fatal(err)
	}
	if libraries := output(t, "sh", "-c", "file -b "+filepath.Join(root, "sereno")+" 2>/dev/null || true"); strings.Contains(libraries, "dynamically") {
		t.Errorf("the binary is not static: %s", libraries)
	}
	alone(t, "testdata/image.sh", root)
}

// The Debian package: installed, started by its unit's command line, purged.
func TestO31DebianPackage(t *testing.T) {
	endToEnd(t, "unshare", "dpkg-deb", "setpriv", "dig", "ip")
	first, second := t.TempDir(), t.TempDir()
	output(t, "./package", "deb", first)
	output(t, "./package", "deb", second)
	debs, err := filepath.Glob(filepath.Join(first, "sereno_*.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatalf("packages: %v, %v", debs, err)
	}
	if a, b := sum(t, debs[0]), sum(t, filepath.Join(second, filepath.Base(debs[0]))); a != b {
		t.Error("two builds of one commit differ")
	}
	alone(t, "testdata/debian.sh", debs[0])
}

func sum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// The bill of materials names every module of the binary.
func TestO31BillOfMaterials(t *testing.T) {
	endToEnd(t)
	dir := t.TempDir()
	output(t, "./package", "sbom", dir)
	output(t, "./package", "binary", dir)
	text, err := os.ReadFile(filepath.Join(dir, "sereno.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	has := map[string]string{}
	for _, c := range bom.Components {
		has[c.Name] = c.Version
	}
	modules := regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(output(t, "go", "version", "-m", filepath.Join(dir, "sereno")), -1)
	if len(modules) < 20 {
		t.Fatalf("the binary has %d modules", len(modules))
	}
	for _, m := range modules {
		if has[m[1]] != m[2] {
			t.Errorf("%s %s is in the binary and %q in the bill", m[1], m[2], has[m[1]])
		}
	}
}
