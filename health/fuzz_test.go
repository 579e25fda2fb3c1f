package health

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"sereno/proxy/radwire"
)

// Whatever comes back: what passes for an answer has our ID, our question and the
// QR bit, and is good only with an rcode that was asked for.
func FuzzDNSProbeAnswer(f *testing.F) {
	config := DNSProbe{Name: "example.net", Type: "NS", Rcodes: []string{"NOERROR"}, Answer: true}
	q, err := dnsQuestion(&config)
	if err != nil {
		f.Fatal(err)
	}
	q.Id = 0x1234
	good := new(dns.Msg).SetReply(q)
	good.Answer = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: "example.net.", Rrtype: dns.TypeNS, Class: dns.ClassINET}, Ns: "a."}}
	bad := good.Copy()
	bad.Rcode = dns.RcodeServerFailure
	cut := good.Copy()
	cut.Truncated, cut.Answer = true, nil
	for _, m := range []*dns.Msg{good, bad, cut, q} {
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		var a dns.Msg
		if fitsQuestion(&a, reply, q) != nil {
			return
		}
		if binary.BigEndian.Uint16(reply) != q.Id || reply[2]&0x80 == 0 || binary.BigEndian.Uint16(reply[4:]) != 1 ||
			!strings.EqualFold(a.Question[0].Name, "example.net.") {
			t.Errorf("%x passes for an answer", reply)
		}
		if goodAnswer(&config, &a) == nil && (reply[3]&0xf != 0 || binary.BigEndian.Uint16(reply[6:]) == 0) {
			t.Errorf("%x passes for a good answer", reply)
		}
	})
}

// Nobody who does not have the secret can answer: only the one valid reply passes.
func FuzzRADIUSProbeAnswer(f *testing.F) {
	target := radiusTarget(netip.AddrPort{}, "auth")
	request, secret, err := newRADIUSProbe(&target, radwire.StatusServer)
	if err != nil {
		f.Fatal(err)
	}
	// Not random here, so that a corpus stays of use.
	copy(request[4:radwire.HeaderLen], "0123456789abcdef")
	request[1] = 7
	auth := radwire.PacketAuthenticator(request)
	secret.SignMessageAuthenticator(request, radwire.HeaderLen, &auth)
	var ix radwire.Index
	p, err := radwire.Walk(request, &ix)
	if err != nil {
		f.Fatal(err)
	}
	valid := make([]byte, radwire.MaxLen)
	n, err := radwire.Reply(valid, radwire.AccessAccept, nil, p, &ix, secret)
	if err != nil {
		f.Fatal(err)
	}
	valid = valid[:n]
	f.Add(valid)
	f.Add(append(bytes.Clone(valid), 1, 2, 3))
	f.Add(request)
	f.Fuzz(func(t *testing.T, reply []byte) {
		if got, err := verifyRADIUS(reply, request, secret, false); err == nil && !bytes.Equal(got, valid) {
			t.Errorf("%x passes for an answer", reply)
		}
	})
}
