package lab

import "testing"

func TestABusyMachineExcusesDelayAndNoLoss(t *testing.T) {
	held, late := row{what: "gone", bound: 1}, row{what: "gone", took: 2, bound: 1, violation: true}
	lost := row{what: "DNS load", text: "100 sent, 2 lost, 0 wrong (of both at most 1)", violation: true}
	never := row{what: "DNS route of node 2 gone", text: "after 3ms", violation: true}
	for _, c := range []struct {
		name string
		rows []row
		want bool
	}{
		{"late", []row{held, late}, true},
		{"lost", []row{held, lost}, false},
		{"late and lost", []row{late, lost}, false},
		{"a route that never may go", []row{never, held}, false},
	} {
		if got := onlyLate(c.rows); got != c.want {
			t.Errorf("%s: only late is %v", c.name, got)
		}
	}
}
