package radiusfront

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// checkedConfig is a FreeRADIUS that needs nothing but what is to be checked.
const checkedConfig = `prefix = /usr
raddbdir = %[1]s
logdir = %[1]s
run_dir = %[1]s
libdir = /usr/lib/freeradius
log {
	destination = stdout
}
security {
	status_server = yes
}
modules {
}
$INCLUDE %[1]s/proxy.conf
server default {
	listen {
		type = auth
		ipaddr = 127.0.0.1
		port = 18120
	}
	authorize {
	}
	authenticate {
	}
}
`

// TestProxyConfInTheDocumentIsOne: FreeRADIUS itself takes the proxy.conf that docs/migrate-freeradius-proxy.md begins with.
func TestProxyConfInTheDocumentIsOne(t *testing.T) {
	text, err := os.ReadFile("../../docs/migrate-freeradius-proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```\n(.*?)^```").FindSubmatch(text)
	if block == nil {
		t.Fatal("the document has no proxy.conf")
	}
	if !e2e(t) {
		return
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"proxy.conf": string(block[1]), "radiusd.conf": fmt.Sprintf(checkedConfig, dir)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(program(t, "freeradius"), "-C", "-X", "-d", dir, "-n", "radiusd").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
