package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func diffLines(changes []Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, c.String())
	}
	return out
}

const diffText = `node: {name: garibaldi-1}
pools:
  - name: resolvers
    protocol: dns
    backends:
      - {name: fulmine, address: 10.0.0.11}
      - {name: tempesta, address: 10.0.0.12}
  - name: servers
    protocol: radius
    backends:
      - {name: fulmine, address: 10.0.0.21, secret: hidden-one}
      - {name: tempesta, address: 10.0.0.22, secret: hidden-two}
dns:
  - name: resolver
    listen: ["192.0.2.53:53"]
    pool: resolvers
radius:
  - name: pppoe
    auth: ["192.0.2.18:1812"]
    pool: servers
    clients:
      - {name: bras-1, address: 10.1.0.1, secret: [hidden-three, hidden-four]}
      - {name: bras-2, address: 10.1.0.2, secret: hidden-five}
`

// TestO04Diff names what changed, by name, and no secret.
func TestO04Diff(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
		want           []string
	}{
		{"nothing", "name: garibaldi-1", "name: garibaldi-1", nil},
		{"another way to write the same", "address: 10.0.0.11}", "address: 10.0.0.11, weight: 1}", nil},
		{"a value", "pool: resolvers", "pool: resolvers\n    udp_size: 1400", []string{"dns[resolver].udp_size: 1232 -> 1400"}},
		{"a duration", "    protocol: dns", "    protocol: dns\n    timeout: 1500ms", []string{"pools[resolvers].timeout: 2s -> 1500ms"}},
		{"a list", `["192.0.2.53:53"]`, `["192.0.2.53:53", "192.0.2.54:53"]`,
			[]string{"dns[resolver].listen: [192.0.2.53:53] -> [192.0.2.53:53, 192.0.2.54:53]"}},
		{"what needs a restart", "garibaldi-1", "garibaldi-2", []string{"node.name: garibaldi-1 -> garibaldi-2 (needs a restart)"}},
		{"an item in front", "    backends:\n      - {name: fulmine, address: 10.0.0.11}", "    backends:\n      - {name: lampo, address: 10.0.0.10}\n      - {name: fulmine, address: 10.0.0.11}",
			[]string{"pools[resolvers].backends[lampo]: added"}},
		{"an item gone", "      - {name: fulmine, address: 10.0.0.11}\n", "", []string{"pools[resolvers].backends[fulmine]: removed"}},
		{"a name changed", "{name: fulmine, address: 10.0.0.11}", "{name: lampo, address: 10.0.0.11}",
			[]string{"pools[resolvers].backends[fulmine]: removed", "pools[resolvers].backends[lampo]: added"}},
		{"another order", "      - {name: fulmine, address: 10.0.0.11}\n      - {name: tempesta, address: 10.0.0.12}\n", "      - {name: tempesta, address: 10.0.0.12}\n      - {name: fulmine, address: 10.0.0.11}\n",
			[]string{"pools[resolvers].backends: reordered"}},
		{"a secret", "hidden-two", "hidden-six", []string{"pools[servers].backends[tempesta].secret: changed"}},
		{"a secret of a list", "hidden-four", "hidden-six", []string{"radius[pppoe].clients[bras-1].secret: changed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			changes := Diff(mustParse(t, diffText), mustParse(t, replace(t, diffText, c.from, c.to)))
			if got := diffLines(changes); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
			if got := strings.Contains(strings.Join(c.want, ""), "(needs a restart)"); got != (len(NeedsRestart(changes)) > 0) {
				t.Errorf("restart: %v", NeedsRestart(changes))
			}
		})
	}
}

// TestO04DiffKeys: Key has indices, of the new configuration where the item is in it.
func TestO04DiffKeys(t *testing.T) {
	last := mustParse(t, diffText)
	next := mustParse(t, replace(t, diffText, "      - {name: fulmine, address: 10.0.0.11}\n      - {name: tempesta, address: 10.0.0.12}\n",
		"      - {name: tempesta, address: 10.0.0.12, weight: 5}\n"))
	want := []Change{
		{Key: "pools[0].backends[0]", Name: "pools[resolvers].backends[fulmine]", Kind: Removed},
		{Key: "pools[0].backends[0].weight", Name: "pools[resolvers].backends[tempesta].weight", Kind: Changed, Old: "1", New: "5"},
	}
	if got := Diff(last, next); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

// TestO04DiffSeesInsideFiles: a secret that changed in its file is a change of
// the key that names the file.
func TestO04DiffSeesInsideFiles(t *testing.T) {
	dir, path := secretFiles(t)
	last, _ := Load(path, Options{})
	for _, name := range []string{"token", "fulmine", "nas", "core"} {
		write(t, dir, "secrets/"+name, "another-"+name, 0o600)
	}
	next, report := Load(path, Options{})
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"pools[servers].backends[fulmine].secret_file: changed",
		"radius[pppoe].clients[bras-1].secret_file: changed",
		"admin.token_file: changed",
		"bgp.neighbors[core-1].password_file: changed",
	}
	if got := diffLines(Diff(last, next)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestO04EveryKeyIsLiveOrRestart fails when a key is new and nobody has said
// whether a reload changes it in the running node.
func TestO04EveryKeyIsLiveOrRestart(t *testing.T) {
	named := map[string]int{}
	for _, k := range append(slices.Clone(liveKeys), restartKeys...) {
		named[k]++
	}
	var visit func(typ reflect.Type, prefix string)
	visit = func(typ reflect.Type, prefix string) {
		for _, f := range fieldsOf(typ) {
			key := join(prefix, f.name)
			if isSection(f.typ) {
				visit(f.typ, key)
				continue
			}
			if named[key] != 1 {
				t.Errorf("%s is named %d times in live.go, want once", key, named[key])
			}
			delete(named, key)
			if isSections(f.typ) {
				visit(f.typ.Elem(), key+"[]")
			}
		}
	}
	visit(reflect.TypeFor[Config](), "")
	for k := range named {
		t.Errorf("live.go names %s, which is no key", k)
	}
}

// TestO04UnknownNeedsRestart: the default is the careful one.
func TestO04UnknownNeedsRestart(t *testing.T) {
	if isLive("dns[].invented") || !isLive("dns[].udp_size") || !isLive("pools[].backends[]") || isLive("node.name") {
		t.Error("not the careful default")
	}
}
