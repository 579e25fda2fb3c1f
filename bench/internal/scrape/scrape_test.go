package scrape

import "testing"

const example = `# HELP sereno_dns_queries_total x
# TYPE sereno_dns_queries_total counter
sereno_dns_queries_total{service="a",transport="udp"} 10
sereno_dns_queries_total{service="a",transport="tcp"} 2
sereno_dns_answers_total{service="a",transport="udp",source="cache",rcode="NOERROR"} 9
sereno_dns_drops_total{service="a",reason="short"} 2
sereno_dns_in_flight{service="a"} 1
sereno_radius_requests_total{service="b",kind="auth"} 1e+06
sereno_radius_answers_total{service="b",kind="auth",code="Access-Accept",source="backend"} 999999
sereno_build_info{version="a \"b\", {c}",goversion="go"} 1
go_goroutines 12
`

func TestMetricsAreRead(t *testing.T) {
	m, err := Parse(example)
	if err != nil {
		t.Fatal(err)
	}
	if len(m) != 9 || m.Sum("sereno_dns_queries_total", "service", "a") != 12 || m.Sum("go_goroutines") != 12 {
		t.Errorf("%v", m)
	}
	if m.Sum("sereno_build_info", "goversion", "go") != 1 {
		t.Errorf("a quoted label: %v", m)
	}
	wrong := m.Unbalanced()
	if len(wrong) != 1 || wrong[0] != "service b: received 1e+06, but answered 999999 + dropped 0 + in flight 0" {
		t.Errorf("%q", wrong)
	}
	if _, err := Parse("x{a=\"b 1\n"); err == nil {
		t.Error("a label without an end was accepted")
	}
}
