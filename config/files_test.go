package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const fileText = `node: {state_dir: state}
admin: {token_file: secrets/token, socket: admin.sock}
pools:
  - name: servers
    protocol: radius
    backends:
      - {name: fulmine, address: 10.0.0.21, secret_file: secrets/fulmine}
      - {name: tempesta, address: 10.0.0.22, secret: two-secret-0123}
radius:
  - name: pppoe
    auth: ["192.0.2.18:1812"]
    pool: servers
    clients:
      - {name: bras-1, address: 10.1.0.1, secret_file: secrets/nas}
bgp:
  asn: 64512
  router_id: 10.0.0.2
  neighbors:
    - {name: core-1, address: 10.0.0.1, asn: 64500, password_file: secrets/core}
`

// secretFiles makes everything that fileText names, and returns the configuration's path.
func secretFiles(t *testing.T) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	write(t, dir, "secrets/token", "token-text\n", 0o600)
	write(t, dir, "secrets/fulmine", " spaces belong to it \r\n", 0o600)
	write(t, dir, "secrets/nas", "new-secret\n\nold-secret", 0o640)
	write(t, dir, "secrets/core", "core-secret", 0o600)
	return dir, write(t, dir, "sereno.yaml", fileText, 0o644)
}

// TestO01SecretsFromFiles: read relative to the file that names them, and kept out of sight.
func TestO01SecretsFromFiles(t *testing.T) {
	dir, path := secretFiles(t)
	c, report := Load(path, Options{})
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if len(report.Warnings) != 0 {
		t.Errorf("warnings: %v", report.Warnings)
	}
	got := []string{
		string(c.AdminToken), c.Pools[0].Backends[0].RADIUS.Secret, c.Pools[0].Backends[1].RADIUS.Secret,
		strings.Join(c.RADIUS[0].Clients[0].Secret, "|"), string(c.NeighborPasswords["core-1"]),
		c.Node.StateDir, c.Admin.Socket, c.Pools[0].Backends[0].RADIUS.SecretFile,
	}
	want := []string{
		"token-text", " spaces belong to it ", "two-secret-0123", "new-secret|old-secret", "core-secret",
		filepath.Join(dir, "state"), filepath.Join(dir, "admin.sock"), filepath.Join(dir, "secrets/fulmine"),
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("value %d is %q, want %q", i, got[i], want[i])
		}
	}
}

// TestO01Files: what is wrong with a file is said at the key that names it.
func TestO01Files(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, dir string)
		want []string
	}{
		{"absent", func(t *testing.T, dir string) { remove(t, dir, "secrets/fulmine") },
			[]string{"7:58: error: pools[0].backends[0].secret_file: cannot read", "no such file or directory"}},
		{"a directory", func(t *testing.T, dir string) {
			remove(t, dir, "secrets/nas")
			write(t, dir, "secrets/nas/x", "", 0o600)
		}, []string{"radius[0].clients[0].secret_file:", "is not a regular file"}},
		{"a pipe that nobody writes to", func(t *testing.T, dir string) {
			remove(t, dir, "secrets/nas")
			if err := syscall.Mkfifo(filepath.Join(dir, "secrets/nas"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"radius[0].clients[0].secret_file:", "is not a regular file"}},
		{"empty", func(t *testing.T, dir string) { write(t, dir, "secrets/token", " \n", 0o600) },
			[]string{"admin.token_file:", "is empty: no secret in it"}},
		{"two lines where one belongs", func(t *testing.T, dir string) { write(t, dir, "secrets/fulmine", "a\nb\n", 0o600) },
			[]string{"pools[0].backends[0].secret_file:", "has 2 lines; at most 1"}},
		{"three lines where two may be", func(t *testing.T, dir string) { write(t, dir, "secrets/nas", "a\nb\nc\n", 0o600) },
			[]string{"radius[0].clients[0].secret_file:", "has 3 lines; at most 2"}},
		{"too large", func(t *testing.T, dir string) { write(t, dir, "secrets/nas", strings.Repeat("x", 1<<17), 0o600) },
			[]string{"radius[0].clients[0].secret_file:", "is larger than 64 KiB"}},
		{"a long TCP MD5 password", func(t *testing.T, dir string) { write(t, dir, "secrets/core", strings.Repeat("x", 81), 0o600) },
			[]string{"bgp.neighbors[0].password_file:", "is 81 bytes long; TCP MD5 takes at most 80"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, path := secretFiles(t)
			c.do(t, dir)
			_, report := Load(path, Options{})
			if len(report.Errors) != 1 {
				t.Errorf("%d errors: %v", len(report.Errors), report.Err())
			}
			wantLine(t, report.Errors, c.want...)
			if _, report := Load(path, Options{NoFiles: true}); report.Err() != nil {
				t.Errorf("with NoFiles: %v", report.Err())
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// TestO02WorldReadableSecret warns of each file that everybody can read, and of no other.
func TestO02WorldReadableSecret(t *testing.T) {
	dir, path := secretFiles(t)
	write(t, dir, "secrets/nas", "new-secret\n", 0o644)
	_, report := Load(path, Options{})
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if len(report.Warnings) != 1 {
		t.Errorf("%d warnings", len(report.Warnings))
	}
	wantLine(t, report.Warnings, "14:56: warning: radius[0].clients[0].secret_file:", "can be read by everybody (mode 0644); chmod o-r")
}

// TestO01UnreadableConfiguration: a file that is not there is an error like any other.
func TestO01UnreadableConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.yaml")
	c, report := Load(path, Options{})
	if c != nil || report.Err() == nil || report.Err().Error() != path+":1:1: error: cannot read the configuration: no such file or directory" {
		t.Errorf("%v", report.Err())
	}
	if _, report = Load(t.TempDir(), Options{}); report.Err() == nil || !strings.Contains(report.Err().Error(), "is a directory") {
		t.Errorf("a directory: %v", report.Err())
	}
}
