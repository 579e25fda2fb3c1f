package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/load"
	"sereno/bench/stub"
)

// radclient sends one packet and gives what radclient shows.
func radclient(lab *harness.Lab, to netip.AddrPort, kind, secret, attributes string) string {
	out, _ := lab.Output(attributes, "radclient", "-x", "-r", "1", "-t", "4", to.String(), kind, secret)
	return out
}

// TestE2ERadclientLogsInAndAccounts uses PAP and CHAP, with the right and with a wrong password, and looks for the
// accounting in the servers' detail files.
func TestE2ERadclientLogsInAndAccounts(t *testing.T) {
	t.Parallel()
	lab := harness.New(t)
	one, two := lab.FreeRADIUS(1), lab.FreeRADIUS(2)
	s := lab.Sereno(harness.Config{Servers: []*harness.FreeRADIUS{one, two}})
	for i := range 4 {
		user := fmt.Sprintf("user-%d", i)
		account := stub.Login(user)
		for _, method := range []string{"User-Password", "CHAP-Password"} {
			out := radclient(lab, s.Auth, "auth", harness.NASSecret,
				fmt.Sprintf("User-Name=%s,%s=%s,Message-Authenticator=0x00,Calling-Station-Id=line-%d", user, method, account.Password, i))
			if !strings.Contains(out, "Received Access-Accept") || !strings.Contains(out, "Framed-IP-Address = "+netip.AddrFrom4(account.Framed).String()) {
				t.Errorf("%s by %s:\n%s", user, method, out)
			}
			out = radclient(lab, s.Auth, "auth", harness.NASSecret,
				fmt.Sprintf("User-Name=%s,%s=wrong,Message-Authenticator=0x00,Calling-Station-Id=line-%d", user, method, i))
			if !strings.Contains(out, "Received Access-Reject") {
				t.Errorf("%s with a wrong password by %s:\n%s", user, method, out)
			}
		}
		for _, status := range []string{"Start", "Interim-Update", "Stop"} {
			out := radclient(lab, s.Acct, "acct", harness.NASSecret,
				fmt.Sprintf("User-Name=%s,Acct-Status-Type=%s,Acct-Session-Id=s-%d,Calling-Station-Id=line-%d", user, status, i, i))
			if !strings.Contains(out, "Received Accounting-Response") {
				t.Errorf("accounting %s of %s:\n%s", status, user, out)
			}
		}
	}
	a, b := one.Detail(), two.Detail()
	for i := range 4 {
		for _, status := range []uint32{stub.AcctStart, stub.AcctInterim, stub.AcctStop} {
			r := stub.Record{Session: fmt.Sprintf("s-%d", i), Status: status}
			if n := a[r] + b[r]; n != 1 {
				t.Errorf("%v is %d times in the detail files", r, n)
			}
		}
	}
	s.WaitIdle()
	if n := s.Metrics().Sum("sereno_radius_requests_total", "kind", "acct"); n != 12 {
		t.Errorf("%g accounting requests are counted", n)
	}
}

// TestE2ERADIUSMaskedFailures kills one of two servers, and freezes the other after the first is back, under load.
func TestE2ERADIUSMaskedFailures(t *testing.T) {
	for _, how := range []string{"killed", "frozen"} {
		t.Run(how, func(t *testing.T) {
			lab := harness.New(t)
			one, two := lab.FreeRADIUS(1), lab.FreeRADIUS(2)
			s := lab.Sereno(harness.Config{Servers: []*harness.FreeRADIUS{one, two}})
			r, work := radiusLoad(t, s, load.RADIUSConfig{Common: load.Common{Rate: 2000, Timeout: 6 * time.Second}, PAP: 2, CHAP: 1, Acct: 1})
			work.sent(lab, 4000)
			if how == "killed" {
				one.Kill()
			} else {
				one.Freeze()
			}
			s.WaitBackend("freeradius-1", "auth", "down")
			s.WaitBackend("freeradius-1", "acct", "down")
			work.sent(lab, 2000)
			soFar := work.books()
			t.Logf("with one FreeRADIUS %s: %s", how, &soFar)
			if how == "killed" {
				one.Start()
			} else {
				one.Thaw()
			}
			s.WaitBackend("freeradius-1", "auth", "up")
			work.sent(lab, 2000)
			work.nothingLost("one of two FreeRADIUS servers " + how)
			s.WaitIdle()
			a, b := one.Detail(), two.Detail()
			missing := 0
			for _, record := range r.Acknowledged() {
				if a[record]+b[record] == 0 {
					missing++
				}
			}
			if n := len(r.Acknowledged()); missing > 0 || n < 2000 {
				t.Errorf("%d of %d acknowledged accounting records are in no detail file", missing, n)
			}
		})
	}
}
