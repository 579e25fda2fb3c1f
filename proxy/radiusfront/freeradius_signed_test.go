package radiusfront

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// signingConfig is a FreeRADIUS that puts a Message-Authenticator into every answer: as an accounting server, and as a NAS
// that takes CoA and Disconnect.
const signingConfig = `prefix = /usr
raddbdir = %[1]s
logdir = %[1]s
run_dir = %[1]s
libdir = /usr/lib/freeradius
pidfile = %[1]s/radiusd.pid
log {
	destination = stdout
}
thread pool {
	start_servers = 2
	max_servers = 4
}
clients proxies {
	client front {
		ipaddr = 127.0.0.0/8
		secret = %[2]s
	}
}
clients servers {
	client front {
		ipaddr = 127.0.0.0/8
		secret = %[3]s
	}
}
modules {
	always ok {
		rcode = ok
	}
}
server default {
	listen {
		type = acct
		ipaddr = 127.0.0.1
		port = %[4]d
		clients = proxies
	}
	listen {
		type = coa
		ipaddr = 127.0.0.2
		port = %[5]d
		clients = servers
	}
	accounting {
		update reply {
			Message-Authenticator := 0x00
		}
		ok
	}
	recv-coa {
		update reply {
			Message-Authenticator := 0x00
		}
		ok
	}
}
`

// TestE2ER12FreeRADIUSThatSignsAccountingAndCoA: FreeRADIUS computes the Message-Authenticator of these answers over zeros,
// but verifies that of CoA over the request's authenticator, so that its own radclient refuses its ACKs: it takes ours.
func TestE2ER12FreeRADIUSThatSignsAccountingAndCoA(t *testing.T) {
	if !e2e(t) {
		return
	}
	acct, coa := newServerOn(t, "127.0.0.1:0", backendSecret, nil), newServerOn(t, "127.0.0.2:0", nasSecret, nil)
	r := &freeradius{addr: acct.addr()}
	_, _ = acct.conn.Close(), coa.conn.Close()
	dir := t.TempDir()
	r.run(t, dir, fmt.Sprintf(signingConfig, dir, backendSecret, nasSecret, acct.addr().Port(), coa.addr().Port()))
	f := newFront(t, withSpool(t.TempDir(), setup{
		backends: []*server{{t: t, key: backendSecret, at: r.addr}}, options: func(o *Options) { o.Now = time.Now },
		config: func(c *Config) {
			c.CoA = []string{"127.0.0.1:0"}
			c.Clients = []ClientConfig{testClient("nas", "127.0.0.1"), testClient("bras", "127.0.0.2")}
			c.Clients[1].CoAPort = int(coa.addr().Port())
		}}))
	try := func(to netip.AddrPort, kind, secret, attrs, want string) {
		t.Helper()
		cmd := exec.Command(program(t, "radclient"), "-x", "-r", "1", "-t", "4", to.String(), kind, secret)
		cmd.Stdin = strings.NewReader(attrs + ",Message-Authenticator=0x00\n")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", kind, err, out)
		}
	}
	try(f.acctAddr(), "acct", nasSecret, "Acct-Status-Type=Start,Acct-Session-Id=s1", "Received Accounting-Response")
	try(f.listen(KindCoA), "coa", backendSecret, "NAS-IP-Address=127.0.0.2", "Received CoA-ACK")
	try(f.listen(KindCoA), "disconnect", backendSecret, "NAS-IP-Address=127.0.0.2", "Received Disconnect-ACK")
	f.reload(func(o *Options) { o.Config.Accounting.Ack = "after-spool" })
	try(f.acctAddr(), "acct", nasSecret, "Acct-Status-Type=Start,Acct-Session-Id=s2", "Received Accounting-Response")
	f.untilSpool("delivery", func(s *SpoolStats) bool { return s.Delivered == 1 && s.Records == 0 })
	if st := f.balanced(); st.Answers[KindAcct][AnswerAccounting][SourceBackend] != 1 || st.Answers[KindAcct][AnswerAccounting][SourceSpool] != 1 {
		t.Errorf("books: %+v", st.Answers[KindAcct])
	}
}
