package deploy_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"sereno/config"
)

// composed is what compose.yaml may say: another key is an error.
type composed struct {
	Node     service            `yaml:"x-node"`
	Services map[string]service `yaml:"services"`
	Volumes  map[string]any     `yaml:"volumes"`
	Networks map[string]struct {
		IPAM struct {
			Config []struct{ Subnet, Gateway string }
		}
	} `yaml:"networks"`
}

type service struct {
	Build       struct{ Context, Dockerfile string }
	Image       string
	ReadOnly    bool              `yaml:"read_only"`
	CapDrop     []string          `yaml:"cap_drop"`
	CapAdd      []string          `yaml:"cap_add"`
	SecurityOpt []string          `yaml:"security_opt"`
	Sysctls     map[string]string `yaml:"sysctls"`
	Tmpfs       []string
	Grace       string   `yaml:"stop_grace_period"`
	DependsOn   []string `yaml:"depends_on"`
	Volumes     []string
	Networks    map[string]struct {
		Address string `yaml:"ipv4_address"`
	}
	NetworkMode string `yaml:"network_mode"`
	Entrypoint  []string
}

func readCompose(t *testing.T) composed {
	t.Helper()
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c composed
	if err := yaml.UnmarshalWithOptions(text, &c, yaml.Strict(), yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatal(err)
	}
	return c
}

// address is where a service is in the one network that there is.
func (c *composed) address(t *testing.T, name string) string {
	t.Helper()
	at := c.Services[name].Networks["site"].Address
	a, err := netip.ParseAddr(at)
	p, perr := netip.ParsePrefix(c.Networks["site"].IPAM.Config[0].Subnet)
	if err != nil || perr != nil || !p.Contains(a) || at == c.Networks["site"].IPAM.Config[0].Gateway {
		t.Errorf("%s is at %q, which is no host's address in %s", name, at, p)
	}
	return at
}

// What compose.yaml names is there, and its parts fit one another.
func TestO31ComposeNamesWhatThereIs(t *testing.T) {
	c := readCompose(t)
	used := map[string]bool{}
	for name, s := range c.Services {
		if (s.Image == "") == (s.Build.Dockerfile == "") {
			t.Errorf("%s has an image and is built, or neither", name)
		}
		if s.Image != "" && s.Image != "alpinelinux/unbound" && !strings.Contains(s.Image, ":") {
			t.Errorf("%s: the image %s has no version", name, s.Image)
		}
		if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); s.Build.Dockerfile != "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(from, "./") {
				if _, ok := c.Volumes[from]; !ok || used[from] {
					t.Errorf("%s: the volume %s is not there, or is another's too", name, from)
				}
				used[from] = true
			} else if _, err := os.Stat(from); err != nil || !strings.HasSuffix(v, ":ro") {
				t.Errorf("%s: %s: %v, or can be written to", name, v, err)
			}
		}
		for _, other := range s.DependsOn {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is not there", name, other)
			}
		}
		if other, ok := strings.CutPrefix(s.NetworkMode, "service:"); ok {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s is in the network of %s, which is not there", name, other)
			}
		} else {
			c.address(t, name)
		}
	}
	if len(used) != len(c.Volumes) {
		t.Errorf("volumes %v, of which %v are used", c.Volumes, used)
	}
}

// The nodes of compose.yaml: locked down as docs/security.md says, with configurations that `sereno check` takes without a
// word and that name the other containers.
func TestO31ComposeRunsTheNodeAsItShould(t *testing.T) {
	c := readCompose(t)
	image, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	user := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(string(image))
	for _, line := range []string{`VOLUME ["/var/lib/sereno"]`, "EXPOSE 53/udp 53/tcp 1812/udp 1813/udp 8053/tcp", "STOPSIGNAL SIGTERM", `ENTRYPOINT ["/sereno"]`,
		`CMD ["run", "-c", "/etc/sereno/sereno.yaml"]`} {
		if !strings.Contains(string(image), "\n"+line+"\n") {
			t.Errorf("the Dockerfile has no %q", line)
		}
	}
	if user == nil {
		t.Fatal("the image has no user")
	}
	for _, dir := range []string{"/var/lib/sereno", "/run/sereno"} { // what is there before is not given an owner
		if !strings.Contains(string(image), "--chown="+user[1]+":"+user[2]+" /empty "+dir+"\n") || !regexp.MustCompile(`(?m)^RUN rmdir .*/rootfs`+dir+`\b`).Match(image) {
			t.Errorf("%s is not the user's", dir)
		}
	}
	frr, err := os.ReadFile("compose/frr.conf")
	if err != nil {
		t.Fatal(err)
	}
	for n, name := range []string{"node-1", "node-2"} {
		s, own := c.Services[name], c.address(t, name)
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.CapAdd, []string{"NET_BIND_SERVICE"}) ||
			!slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Sysctls["net.ipv4.ip_unprivileged_port_start"] != "0" {
			t.Errorf("%s has more rights than the unit gives it, or cannot bind port 53: %+v", name, s)
		}
		conf, report := config.Load("compose/"+name+".yaml", config.Options{})
		if len(report.Errors) > 0 || len(report.Warnings) > 0 {
			t.Fatalf("%s: %v %v", name, report.Errors, report.Warnings)
		}
		if want := "./compose/" + name + ".yaml:/etc/sereno/sereno.yaml:ro"; !slices.Contains(s.Volumes, want) || !slices.ContainsFunc(s.Volumes, func(v string) bool { return strings.HasSuffix(v, ":"+conf.Node.StateDir) }) {
			t.Errorf("%s: of %v none is the configuration, or none the state in %s", name, s.Volumes, conf.Node.StateDir)
		}
		if want := filepath.Dir(conf.Admin.Socket) + ":uid=" + user[1] + ",gid=" + user[2] + ",mode=0750"; !slices.Contains(s.Tmpfs, want) {
			t.Errorf("%s: %v has no place for the socket, %s", name, s.Tmpfs, want)
		}
		if grace, err := time.ParseDuration(s.Grace); err != nil || grace < conf.Anycast[0].DrainTime+10*time.Second {
			t.Errorf("%s is killed after %s (%v), before it has stopped", name, s.Grace, err)
		}
		for i, b := range conf.Pools[0].Backends {
			if a, _, _ := strings.Cut(b.Address, ":"); a != c.address(t, []string{"resolver-1", "resolver-2"}[i]) {
				t.Errorf("%s: backend %s is at %s", name, b.Name, b.Address)
			}
		}
		prefix := conf.Anycast[0].Prefixes[0]
		vip := prefix.Addr().String()
		address := c.Services[[]string{"address-1", "address-2"}[n]]
		if !slices.Contains(address.Entrypoint, prefix.String()) || address.NetworkMode != "service:"+name || !slices.Equal(address.CapAdd, []string{"NET_ADMIN"}) {
			t.Errorf("nobody gives %s its %s: %+v", name, vip, address)
		}
		if !slices.Equal(conf.DNS[0].Listen, []string{vip + ":53", own + ":53"}) || conf.BGP.RouterID != own {
			t.Errorf("%s listens on %v and is router %s", name, conf.DNS[0].Listen, conf.BGP.RouterID)
		}
		if p := conf.BGP.Neighbors[0]; p.Address != c.address(t, "router") || !strings.Contains(string(frr), "\nrouter bgp "+fmt.Sprint(p.ASN)+"\n") ||
			!strings.Contains(string(frr), "\n neighbor nodes remote-as "+fmt.Sprint(conf.BGP.ASN)+"\n") || !strings.Contains(string(frr), "\n neighbor "+own+" peer-group nodes\n") {
			t.Errorf("%s and the router do not speak to one another: %+v", name, p)
		}
	}
}
