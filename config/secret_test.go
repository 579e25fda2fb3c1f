package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestR15ConfigPrintsNoSecret: no way to print a configuration shows a secret.
func TestR15ConfigPrintsNoSecret(t *testing.T) {
	dir, path := secretFiles(t)
	write(t, dir, "secrets/token", "hidden-token", 0o600)
	write(t, dir, "secrets/core", "hidden-core", 0o600)
	write(t, dir, "secrets/nas", "hidden-nas", 0o600)
	write(t, dir, "sereno.yaml", replace(t, replace(t, fileText, "two-secret-0123", "hidden-two"), "    backends:",
		"    health: {radius: {method: access-request, user: probe, password: hidden-probe}}\n    backends:"), 0o644)
	c, report := Load(path, Options{})
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if string(c.AdminToken) != "hidden-token" || c.RADIUS[0].Clients[0].Secret[0] != "hidden-nas" {
		t.Fatal("the secrets are not there to be hidden")
	}
	prints := map[string]string{"Summary": c.Summary(), "String": c.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		prints[verb] = fmt.Sprintf(verb, *c)
		prints[verb+" pointer"] = fmt.Sprintf(verb, c)
		prints[verb+" pools"] = fmt.Sprintf(verb, c.Pools)
		prints[verb+" backend"] = fmt.Sprintf(verb, c.Pools[0].Backends[1])
		prints[verb+" token"] = fmt.Sprintf(verb, c.AdminToken)
		prints[verb+" passwords"] = fmt.Sprintf(verb, c.NeighborPasswords)
	}
	for name, v := range map[string]any{"config": c, "pools": c.Pools, "token": c.AdminToken} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		prints["json "+name] = string(text)
		if text, err = yaml.Marshal(v); err != nil {
			t.Fatal(err)
		}
		prints["yaml "+name] = string(text)
	}
	for name, text := range prints {
		if strings.Contains(text, "hidden") || strings.Contains(text, fmt.Sprintf("%x", "hidden")) {
			t.Errorf("%s shows a secret: %s", name, text)
		}
	}
	if !strings.Contains(c.String(), "radius[0].clients[0].secret: ***\n") || !strings.Contains(c.String(), "dns[0].udp_size") && len(c.DNS) > 0 {
		t.Errorf("not masked but left out:\n%s", c)
	}
}

// TestR15ErrorsPrintNoSecret puts mistakes beside and into secrets.
func TestR15ErrorsPrintNoSecret(t *testing.T) {
	for _, with := range []string{
		"secret: {hidden: hidden}", "secret: [[hidden]]", "secret: [hidden-a, hidden-b, hidden-c]", "secret: hidden, secret_file: hidden-file, secret: hidden",
		"secret: \"hidden", "secret: @hidden", "secret: !hidden hidden", "secret: &hidden-anchor hidden\n\thidden: x", "secret: hidden: hidden", "secret: 'hidden' hidden",
		"secret: hidden\x01", "secret: hidden, secret: hidden",
	} {
		text := replace(t, radiusText, "secret: nas-secret-0123", with)
		_, report := Parse("test.yaml", []byte(text), Options{NoFiles: true})
		if report.Err() == nil {
			t.Errorf("%q is accepted", with)
			continue
		}
		said := strings.NewReplacer("hidden-file", "", "clients[0].secret.hidden", "", "!hidden", "").Replace(report.Err().Error())
		if strings.Contains(said, "hidden") {
			t.Errorf("%q: %s", with, said)
		}
	}
}
