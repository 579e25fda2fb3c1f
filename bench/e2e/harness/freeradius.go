package harness

import (
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"sereno/bench/internal/servers"
	"sereno/bench/stub"
)

// Users is how many subscribers the lab's FreeRADIUS servers know: user-0, user-1, ...
const Users = servers.Users

// FreeRADIUS is a real RADIUS server whose users are those of package stub, and that demands a
// Message-Authenticator in every Access-Request.
type FreeRADIUS struct {
	*Process
	Addr netip.Addr
	dir  string
}

// FreeRADIUS starts the lab's nth RADIUS server and waits until it answers.
func (l *Lab) FreeRADIUS(n int) *FreeRADIUS {
	l.t.Helper()
	return l.FreeRADIUSAs(numbered("freeradius", n), servers.FreeRADIUS{Addr: l.Addr(byte(hostServer + n))})
}

// FreeRADIUSAs starts a RADIUS server of that name and waits until it answers. Of c, directory, ports, threads and client are
// the lab's; in its texts, DIR stands for the directory.
func (l *Lab) FreeRADIUSAs(name string, c servers.FreeRADIUS) *FreeRADIUS {
	l.t.Helper()
	c.Dir, c.Auth, c.Acct, c.Threads, c.Client, c.Secret = filepath.Join(l.dir, name), AuthPort, AcctPort, 4, "127.0.0.0/8", BackendSecret
	return l.FreeRADIUSWith(name, c.Addr, c.Files())
}

// Start starts it (again) and waits until it is ready.
func (f *FreeRADIUS) Start() {
	f.lab.t.Helper()
	before := strings.Count(f.Log(), "Ready to process requests")
	f.start()
	f.lab.Eventually(20*time.Second, f.name+" is ready", func() bool {
		return strings.Count(f.Log(), "Ready to process requests") > before
	})
}

// DetailRecord is one record of a detail file.
type DetailRecord = servers.DetailRecord

// Detail gives the accounting records that it has written to its detail file, and how often each.
func (f *FreeRADIUS) Detail() map[stub.Record]int {
	f.lab.t.Helper()
	records := map[stub.Record]int{}
	for _, r := range f.DetailRecords() {
		records[r.Record]++
	}
	return records
}

// DetailRecords gives its detail file in its order.
func (f *FreeRADIUS) DetailRecords() []DetailRecord {
	f.lab.t.Helper()
	records, err := servers.ReadDetail(filepath.Join(f.dir, "detail"))
	if err != nil {
		f.lab.t.Fatal(err)
	}
	return records
}
