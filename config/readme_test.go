package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestO01ReadmeExamplesLoad: the YAML blocks of the README, each added to those
// before it, are a configuration without errors.
func TestO01ReadmeExamplesLoad(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) == 0 {
		t.Fatal("the README shows no configuration")
	}
	dir := t.TempDir()
	for i, b := range blocks {
		write(t, dir, fmt.Sprintf("conf.d/%d.yaml", i), string(b[1]), 0o600)
		main := write(t, dir, "main.yaml", "include: [conf.d/*.yaml]\n", 0o600)
		c, report := Load(filepath.Clean(main), Options{NoFiles: true})
		if err := report.Err(); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if len(c.DNS)+len(c.RADIUS) == 0 {
			t.Errorf("block %d serves nothing", i)
		}
	}
}
