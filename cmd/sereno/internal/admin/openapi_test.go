package admin

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// description is what the tests look at of openapi.yaml.
type description struct {
	Paths      map[string]map[string]operation `yaml:"paths"`
	Components struct {
		Schemas    map[string]schema `yaml:"schemas"`
		Parameters map[string]struct {
			Name string `yaml:"name"`
		} `yaml:"parameters"`
		Responses map[string]any `yaml:"responses"`
	} `yaml:"components"`
}

type operation struct {
	Security   []any `yaml:"security"`
	Parameters []struct {
		Name string `yaml:"name"`
		In   string `yaml:"in"`
		Ref  string `yaml:"$ref"`
	} `yaml:"parameters"`
	Responses map[string]any `yaml:"responses"`
}

type schema struct {
	Properties map[string]struct {
		Enum []string `yaml:"enum"`
	} `yaml:"properties"`
}

func readDescription(t *testing.T) description {
	t.Helper()
	var d description
	if err := yaml.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestO22OpenAPIDescribesEveryEndpoint(t *testing.T) {
	s := startServer(t, nil)
	code, body, header := ask(t, s.overListen, "GET", s.url("/api/v1/openapi.yaml"))
	if code != 200 || body != string(openAPI) || header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%d %v", code, header)
	}
	d, endpoints := readDescription(t), s.endpoints()
	if got, want := slices.Sorted(maps.Keys(d.Paths)), slices.Sorted(maps.Keys(endpoints)); !slices.Equal(got, want) {
		t.Errorf("described are %v, there are %v", got, want)
	}
	for path, methods := range d.Paths {
		want := "get"
		if endpoints[path].change {
			want = "post"
		}
		op, ok := methods[want]
		if !ok || len(methods) != 1 {
			t.Errorf("%s is described with %v", path, slices.Collect(maps.Keys(methods)))
			continue
		}
		byToken := endpoints[path].change && !endpoints[path].local
		if byToken != (len(op.Security) > 0) || byToken != (op.Responses["401"] != nil) {
			t.Errorf("%s: the description says something else of the token", path)
		}
		var takes []string
		for _, p := range op.Parameters {
			if name := d.Components.Parameters[strings.TrimPrefix(p.Ref, "#/components/parameters/")].Name; name != "" {
				takes = append(takes, name)
			} else if p.In == "query" {
				takes = append(takes, p.Name)
			}
		}
		if !slices.Equal(takes, endpoints[path].takes) {
			t.Errorf("%s takes %v and is described with %v", path, endpoints[path].takes, takes)
		}
	}
}

// TestO22OnlyDescribedArgumentsReachARead: a handler cannot read an argument that the description, which is held to
// takes, does not have.
func TestO22OnlyDescribedArgumentsReachARead(t *testing.T) {
	s := startServer(t, nil)
	var got url.Values
	for what, e := range map[string]*endpoint{
		"serve":  {takes: []string{"last"}, serve: func(_ http.ResponseWriter, r *http.Request) { got = r.URL.Query() }},
		"answer": {takes: []string{"last"}, answer: func(_ context.Context, v url.Values) (any, error) { got = v; return Health{true}, nil }},
	} {
		got = nil
		w := httptest.NewRecorder()
		s.serve(w, httptest.NewRequest(http.MethodGet, "/x?last=1&secret=2&last=3", nil), e)
		if want := (url.Values{"last": {"1", "3"}}); !reflect.DeepEqual(got, want) || w.Code != http.StatusOK {
			t.Errorf("%s got %v with code %d", what, got, w.Code)
		}
	}
}

// TestO22MetricsByName asks for one metric alone, as Prometheus can.
func TestO22MetricsByName(t *testing.T) {
	s := startServer(t, nil)
	_, body, _ := ask(t, s.overListen, "GET", s.url("/metrics?name[]=sereno_config_last_reload_success&name[]=sereno_nothing"))
	if !strings.Contains(body, "sereno_config_last_reload_success 1\n") || strings.Count(body, "# TYPE ") != 1 {
		t.Errorf("got:\n%s", body)
	}
}

func TestO22OpenAPIDescribesEveryField(t *testing.T) {
	d := readDescription(t)
	described := map[string]bool{"Time": true}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[Time]() || typ == reflect.TypeFor[Instant]() || described[typ.Name()] {
			return
		}
		described[typ.Name()] = true
		var fields []string
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			fields = append(fields, name)
			walk(typ.Field(i).Type)
		}
		slices.Sort(fields)
		if got := slices.Sorted(maps.Keys(d.Components.Schemas[typ.Name()].Properties)); !slices.Equal(got, fields) {
			t.Errorf("%s has %v and is described with %v", typ.Name(), fields, got)
		}
	}
	for _, document := range []any{Status{}, Changes{}, Event{}, Drained{}, Undrained{}, Health{}, Readiness{}, ErrorBody{}, Flushed{}, Forgotten{}, Explained{}, SpoolPage{}, SpoolChanged{}, Availability{}, History{}, Timeline{}, Top{}, TraceLine{}} {
		walk(reflect.TypeOf(document))
	}
	if got, want := slices.Sorted(maps.Keys(d.Components.Schemas)), slices.Sorted(maps.Keys(described)); !slices.Equal(got, want) {
		t.Errorf("described are %v, there are %v", got, want)
	}
	for name, want := range map[string][]string{"Backend": backendStates, "Service": serviceStates} {
		if got := d.Components.Schemas[name].Properties["state"].Enum; !slices.Equal(got, want) {
			t.Errorf("the states of %s are described as %v", name, got)
		}
	}
}

// TestO22OpenAPIRefersToWhatIsThere follows every $ref.
func TestO22OpenAPIRefersToWhatIsThere(t *testing.T) {
	var tree map[string]any
	if err := yaml.Unmarshal(openAPI, &tree); err != nil {
		t.Fatal(err)
	}
	refs := 0
	var walk func(any)
	walk = func(n any) {
		switch n := n.(type) {
		case []any:
			for _, v := range n {
				walk(v)
			}
		case map[string]any:
			for key, v := range n {
				ref, ok := v.(string)
				if key != "$ref" || !ok {
					walk(v)
					continue
				}
				refs++
				var at any = tree
				for _, step := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
					section, _ := at.(map[string]any)
					at = section[step]
				}
				if at == nil {
					t.Errorf("%s is not there", ref)
				}
			}
		}
	}
	walk(tree)
	if refs == 0 {
		t.Error("no reference was found")
	}
}
