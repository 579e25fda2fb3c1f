package e2e

import (
	"strings"
	"testing"

	"sereno/bench/e2e/harness"
)

// TestE2EO14DemoOnceLosesNothing plays the demo as a newcomer would: its last line is for programs, and every line
// fits a terminal of 80 columns.
func TestE2EO14DemoOnceLosesNothing(t *testing.T) {
	t.Parallel()
	lab := harness.New(t)
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	out, code := lab.Output("", binary, "demo", "--once") // it has a minute
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	if code != 0 || lines[len(lines)-1] != "demo: nothing lost" {
		t.Errorf("ended with %d:\n%s", code, out)
	}
	for _, line := range lines {
		if len(line) > 80 {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
}
