package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// schemaErrors is as much of a draft 7 validator as Schema uses.
func schemaErrors(s map[string]any, v any, path string) []string {
	if list, ok := s["anyOf"].([]any); ok {
		for _, one := range list {
			if schemaErrors(one.(map[string]any), v, path) == nil {
				return nil
			}
		}
		return []string{path + ": none of anyOf"}
	}
	if enum, ok := s["enum"].([]any); ok {
		if !slices.Contains(enum, any(fmt.Sprint(v))) {
			return []string{path + ": not in enum"}
		}
		return nil
	}
	types, ok := s["type"].([]any)
	if !ok {
		types = []any{s["type"]}
	}
	kind := jsonKind(v)
	if !slices.Contains(types, any(kind)) && !(kind == "integer" && slices.Contains(types, any("number"))) {
		return []string{fmt.Sprintf("%s: %s is none of %v", path, kind, types)}
	}
	var out []string
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			property, ok := s["properties"].(map[string]any)[key].(map[string]any)
			if !ok {
				out = append(out, path+": no key "+key)
				continue
			}
			out = append(out, schemaErrors(property, value, join(path, key))...)
		}
	case []any:
		for i, item := range v {
			out = append(out, schemaErrors(s["items"].(map[string]any), item, fmt.Sprintf("%s[%d]", path, i))...)
		}
	case string:
		if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v) {
			out = append(out, path+": does not match")
		}
	case float64:
		if most, ok := s["maximum"].(float64); ok && v > most {
			out = append(out, path+": too large")
		}
		if least, ok := s["minimum"].(float64); ok && v < least {
			out = append(out, path+": too small")
		}
	}
	return out
}

func jsonKind(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
	}
	return "number"
}

func readSchema(t *testing.T) map[string]any {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func schemaErrorsOfFile(t *testing.T, schema map[string]any, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return schemaErrors(schema, v, "")
}

// TestO03SchemaAcceptsWhatLoadAccepts: the reference and every good file.
func TestO03SchemaAcceptsWhatLoadAccepts(t *testing.T) {
	schema := readSchema(t)
	files, _ := filepath.Glob("testdata/*.good.yaml")
	for _, file := range append(files, "reference.yaml") {
		if strings.Contains(file, "yaml-directive") || strings.Contains(file, "anchors") {
			continue // the test's way to JSON knows neither
		}
		if errs := schemaErrorsOfFile(t, schema, file); errs != nil {
			t.Errorf("%s: %q", file, errs)
		}
	}
}

// TestO03SchemaRefuses unknown keys, wrong types and words that are no choice.
func TestO03SchemaRefuses(t *testing.T) {
	schema := readSchema(t)
	for _, name := range []string{
		"unknown-key", "unknown-top-level", "unknown-key-odd", "list-for-text", "text-for-list", "section-for-list", "text-for-section", "number-as-text",
		"number-fraction", "asn-too-large", "asn-negative", "bool-number", "duration-without-unit", "duration-unknown-unit", "prefix-address", "log-level",
		"pool-balance", "dns-deny", "dns-any", "dns-ecs", "radius-accounting-ack", "health-radius-method", "health-radius-expect", "anycast-when-down",
		"bgp-neighbor-family", "radius-client-message-authenticator", "radius-survival-mode", "pool-protocol",
	} {
		if errs := schemaErrorsOfFile(t, schema, "testdata/"+name+".bad.yaml"); len(errs) != 1 {
			t.Errorf("%s: %q", name, errs)
		}
	}
}

// TestO03SchemaHasEveryKey with its default, and a description where the
// reference has a comment.
func TestO03SchemaHasEveryKey(t *testing.T) {
	schema := readSchema(t)
	described := 0
	for _, p := range patterns(reflect.TypeFor[Config](), "") {
		at := schema
		for _, step := range strings.Split(p, ".") {
			name, item := strings.CutSuffix(step, "[]")
			property, ok := at["properties"].(map[string]any)[name].(map[string]any)
			if !ok {
				t.Fatalf("no %s", p)
			}
			if at = property; item {
				at = property["items"].(map[string]any)
			}
		}
		if text, ok := at["description"].(string); ok {
			described++
			if text == "" || strings.Contains(text, "example;") {
				t.Errorf("%s is described %q", p, text)
			}
		}
	}
	if described < 90 {
		t.Errorf("%d keys are described", described)
	}
	size := schema["properties"].(map[string]any)["dns"].(map[string]any)["items"].(map[string]any)["properties"].(map[string]any)["udp_size"].(map[string]any)
	if size["default"] != 1232.0 || size["description"] != "largest UDP answer" {
		t.Errorf("udp_size: %v", size)
	}
}

// TestO03Choices reads words out of the reference's comments.
func TestO03Choices(t *testing.T) {
	for comment, want := range map[string][]string{
		"dns | radius": {"dns", "radius"}, "ANY over UDP: tcp (truncate) | refuse | pass": {"tcp", "refuse", "pass"},
		"any | accept | reject: which answer counts as good": {"any", "accept", "reject"}, "one probe of each": nil, "": nil,
		"withdraw (only where another site does) | demote | hand-over (demote; withdraw once)": {"withdraw", "demote", "hand-over"},
	} {
		if got := choices(comment); !slices.Equal(got, want) {
			t.Errorf("%q: %q", comment, got)
		}
	}
}
