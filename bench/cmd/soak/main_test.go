package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestSoakWrongUsage: the exit code 2 is for command lines, before anything is built.
func TestSoakWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"--for", "0s"}, {"--rate-dns", "-1"}, {"--rate-radius", "0"}, {"now"}, {"--speed", "3"}} {
		var out, errs bytes.Buffer
		if code := execute(t.Context(), args, &out, &errs); code != 2 || !strings.HasPrefix(errs.String(), "soak: ") {
			t.Errorf("%v: exit code %d, %q", args, code, errs.String())
		}
	}
}
