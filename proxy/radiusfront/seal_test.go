package radiusfront

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"layeh.com/radius"

	"sereno/proxy/radwire"
)

// TestR42WhatARecordHidesOutlivesTheSecret: a record is stored, its NAS gets another
// secret or leaves the configuration, the node is started again, and the backend gets the
// value that the NAS sent.
func TestR42WhatARecordHidesOutlivesTheSecret(t *testing.T) {
	hidden := "\x00\x00\x01\x37\x10\x14\x80\x01" + strings.Repeat("k", 16) // MS-MPPE-Send-Key
	for name, change := range map[string]func(*Config){
		"the same secret":  func(*Config) {},
		"another secret":   func(c *Config) { c.Clients[0].Secret = []string{"another-secret"} },
		"no client at all": func(c *Config) { c.Clients[0].Address = "192.0.2.77" },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := newFront(t, withSpool(dir, setup{backends: []*server{newServer(t, silent)}}))
			f.setDown("b0", "acct")
			newNAS(t, f.acctAddr()).exchange(acctOf(1, "s1", acctStart, avp(radwire.AttrVendorSpecific, hidden), avp(radwire.AttrUserName, "alice")))
			f.stop()
			if info, err := os.Stat(filepath.Join(spoolDir(dir, "pppoe"), "key")); err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("%v, %v", info, err)
			}
			backend := newServer(t, accept)
			g := newFront(t, withSpool(dir, setup{backends: []*server{backend}, config: change}))
			got := backend.wait(1)[0]
			want := []byte(hidden)
			var zero radwire.Authenticator
			if !radwire.RecryptSalted(want[6:], radwire.NewSecret([]byte(nasSecret)), &zero, radwire.NewSecret([]byte(backendSecret)), &zero) {
				t.Fatal("not a salted value")
			}
			p, err := radius.Parse(got.raw, []byte(backendSecret))
			if err != nil || !bytes.Equal(p.Get(radwire.AttrVendorSpecific), want) {
				t.Errorf("the backend got %x, want %x (%v)", p.Get(radwire.AttrVendorSpecific), want, err)
			}
			g.until("it is delivered", func(st *Stats) bool { return st.Spool.Records == 0 })
		})
	}
}
