package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"time"

	"sereno/bench/internal/nas"
	"sereno/bench/internal/servers"
	"sereno/bench/load"
)

// How patient the soak's clients are: a query or login without a right answer is sent again after each such time, eight
// times in all, and is lost after the timeout.
const (
	askAgain     = 3 * time.Second // more than the 2 s in which a node must answer (D20)
	askTimeout   = 30 * time.Second
	loginAgain   = 5 * time.Second // the 5 s in which a node answers or is silent (R30)
	loginTimeout = 45 * time.Second
	tellAgain    = 3 * time.Second // accounting, until it is acknowledged
	tellTries    = 400
	mostTries    = 8
	perSession   = 6 // accounting records: Start, four Interim-Updates, Stop
)

// asker is one way in which clients ask.
type asker struct {
	*traffic
	dns    bool
	stream bool // a TCP connection, which does not survive that its address moves to another node
}

// startClients starts asking, over every transport, and accounting.
func (s *soak) startClients(ctx context.Context) error {
	return within(subscribers, func() error {
		dns := s.options.RateDNS
		for _, d := range []struct {
			name, target string
			share        float64
			transport    load.Transport
		}{
			{"DNS over UDP", "192.0.2.53:53", 0.70, load.UDP},
			{"DNS over UDP, IPv6", "[2001:db8:53::53]:53", 0.14, load.UDP},
			{"DNS over TCP", "192.0.2.53:53", 0.10, load.TCP},
			{"DNS over TLS", "192.0.2.53:853", 0.05, load.TLS},
		} {
			target := netip.MustParseAddrPort(d.target)
			source := netip.MustParseAddr(subscriberAddress)
			if target.Addr().Is6() {
				source = netip.MustParseAddr(subscriberAddress6)
			}
			g, err := load.NewDNS(load.DNSConfig{
				Common: load.Common{Rate: d.share * dns, Timeout: askTimeout, Resend: askAgain, Tries: mostTries, Grain: 4 * time.Millisecond,
					Source: source, Laboratory: []netip.Addr{target.Addr()},
					Within: func(open func() error) error { return within(subscribers, open) }},
				Targets: []netip.AddrPort{target}, Transport: d.transport, Names: 2000, Zipf: 0.9, New: 0.2, Labels: servers.LoadLabels,
			})
			if err != nil {
				return err
			}
			s.ask(ctx, asker{dns: true, stream: d.transport != load.UDP}, d.name, d.share*dns, g.Run, g.Books)
		}
		https := newHTTPSClient(0.01*dns, func(name string, try int, err error) {
			s.log.https(time.Since(s.start), name, try, err)
		})
		s.ask(ctx, asker{dns: true, stream: true}, "DNS over HTTPS", 0.01*dns, https.run, https.snapshot)
		return s.startNAS(ctx)
	})
}

// startNAS starts logins and accounting; it is called within the subscribers' namespace.
func (s *soak) startNAS(ctx context.Context) error {
	auth, acct := netip.MustParseAddrPort("192.0.2.18:1812"), netip.MustParseAddrPort("192.0.2.18:1813")
	source := netip.MustParseAddr(subscriberAddress)
	rate := 0.4 * s.options.RateRADIUS
	r, err := load.NewRADIUS(load.RADIUSConfig{
		Common: load.Common{Rate: rate, Timeout: loginTimeout, Resend: loginAgain, Tries: mostTries, Grain: 4 * time.Millisecond,
			Source: source, Laboratory: []netip.Addr{auth.Addr()}},
		Targets: []load.RADIUSTarget{{Auth: auth, Acct: acct}}, Secret: []byte(nasSecret), PAP: 3, CHAP: 1, Users: servers.Users, Reject: 10,
	})
	if err != nil {
		return err
	}
	s.ask(ctx, asker{}, "logins", rate, r.Run, r.Books)
	dialer := net.Dialer{LocalAddr: &net.UDPAddr{IP: source.AsSlice()}}
	s.nas = nas.Start(nas.Config{
		Dial: func() (conn net.Conn, err error) {
			err = within(subscribers, func() error {
				conn, err = dialer.Dial("udp", acct.String())
				return err
			})
			return conn, err
		},
		Secret: []byte(nasSecret), Name: fmt.Sprintf("soak-%d", s.options.Seed), Lines: 40, Rate: 0.6 * s.options.RateRADIUS,
		PerSession: perSession, Resend: tellAgain, Tries: tellTries,
	})
	return nil
}

func (s *soak) ask(ctx context.Context, a asker, name string, rate float64, run func(context.Context) (load.Books, error), books func() load.Books) {
	s.begin(ctx, name, service{}, rate, run, books)
	a.traffic = s.traffic[len(s.traffic)-1]
	s.askers = append(s.askers, a)
}

// stopClients ends the load once everything that was sent is answered, or lost, and all accounting acknowledged.
func (s *soak) stopClients(stop context.CancelFunc) {
	stop()
	for _, a := range s.askers {
		o := <-a.result
		if o.err != nil {
			s.broke("%s: %v", a.name, o.err)
		}
		s.final = append(s.final, o.books)
	}
	if err := s.nas.End(); err != nil {
		s.broke("accounting: %v", err)
	}
}

// marks are the books of all askers at a moment.
func (s *soak) marks() []load.Books {
	var list []load.Books
	for _, a := range s.askers {
		list = append(list, a.books())
	}
	return list
}

// Where the nodes' certificate is.
const (
	certificateFile = dir + "/soak.pem"
	keyFile         = dir + "/soak.key"
)

// writeCertificate makes a certificate of the soak's own, that is good whatever a stepped clock says.
func writeCertificate() error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"dns.example"},
		NotBefore: time.Now().AddDate(-5, 0, 0), NotAfter: time.Now().AddDate(5, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	return errors.Join(os.WriteFile(certificateFile, cert, 0o600), os.WriteFile(keyFile, key, 0o600))
}
