package main

import (
	"context"
	"strings"
	"testing"

	"sereno/bench/lab"
)

func TestListNamesEveryScenario(t *testing.T) {
	var out, errs strings.Builder
	if code := execute(context.Background(), []string{"list"}, &out, &errs); code != 0 || errs.Len() > 0 {
		t.Fatalf("exit code %d, %s", code, &errs)
	}
	for _, s := range lab.Scenarios() {
		if !strings.Contains(out.String(), s.Name+" ") {
			t.Errorf("%s is missing in\n%s", s.Name, &out)
		}
	}
}

func TestWrongCommandLines(t *testing.T) {
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"run":           {2, "requires at least 1 arg"},
		"run nonsense":  {1, `no scenario "nonsense"`},
		"play anything": {2, "unknown command"},
	} {
		var out, errs strings.Builder
		code := execute(context.Background(), strings.Fields(line), &out, &errs)
		if code != want.code || !strings.Contains(errs.String(), want.text) {
			t.Errorf("%s: exit code %d, %q", line, code, &errs)
		}
	}
}
