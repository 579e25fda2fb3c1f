package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestO31UnitIsLockedDown: systemd takes the unit without a word, finds little to
// say about its rights, and it has what the program relies on.
func TestO31UnitIsLockedDown(t *testing.T) {
	text, err := os.ReadFile("systemd/sereno.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"Type=notify", "User=sereno", "WatchdogSec=30s", "KillMode=mixed", "StateDirectory=sereno", "RuntimeDirectory=sereno",
		"ExecStart=/usr/bin/sereno run -c /etc/sereno/sereno.yaml", "ExecReload=/usr/bin/sereno reload -c /etc/sereno/sereno.yaml",
		"AmbientCapabilities=CAP_NET_BIND_SERVICE", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "NoNewPrivileges=yes", "ProtectSystem=strict",
		"RestartPreventExitStatus=2",
	} {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(line) + `$`).Match(text) {
			t.Errorf("the unit has no %q", line)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("SERENO_E2E") != "" {
			t.Fatal("systemd-analyze is not installed (Debian: systemd)")
		}
		t.Log("left out without systemd-analyze")
		return
	}
	// The program need not be installed here.
	unit := filepath.Join(t.TempDir(), "sereno.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/bin/sereno", "/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(said(t, analyze, "verify", "--man=no", unit)) {
		if strings.Contains(line, "sereno") { // others of this machine are not ours
			t.Errorf("systemd-analyze verify: %s", line)
		}
	}
	out := said(t, analyze, "security", "--offline=true", "--no-pager", unit)
	m := regexp.MustCompile(`exposure level for sereno.service: ([0-9.]+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatal(out)
	}
	if level, err := strconv.ParseFloat(m[1], 64); err != nil || level > 1.7 {
		t.Errorf("exposure %s of 10, want at most 1.7:\n%s", m[1], out)
	}
}

// said runs a program to its end and gives all that it printed.
func said(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
