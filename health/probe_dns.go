package health

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// probeSize is the UDP size that a probe offers (RFC 6891): what goes through
// unfragmented everywhere (RFC 9715).
const probeSize = 1232

// probeDNS asks the configured question over UDP, and over TCP when the answer
// was truncated, as traffic would.
func probeDNS(ctx context.Context, t *Target) error {
	q, err := dnsQuestion(&t.Config.DNS)
	if err != nil {
		return err
	}
	request, err := q.Pack()
	if err != nil {
		return fmt.Errorf("building the probe: %w", err)
	}
	conn, err := dial(ctx, "udp", t)
	if err != nil {
		return fmt.Errorf("opening a socket: %w", err)
	}
	defer func() { _ = conn.Close() }()
	truncated := false
	err = exchange(ctx, conn, request, make([]byte, 4*probeSize), func(reply []byte) (bool, error) {
		var a dns.Msg
		if err := fitsQuestion(&a, reply, q); err != nil {
			return false, err
		}
		truncated = a.Truncated
		if truncated {
			return true, nil
		}
		return true, goodAnswer(&t.Config.DNS, &a)
	})
	if err != nil || !truncated {
		return err
	}
	return probeTCP(ctx, t, q)
}

func probeTCP(ctx context.Context, t *Target, q *dns.Msg) error {
	conn, err := dial(ctx, "tcp", t)
	if err != nil {
		return fmt.Errorf("connecting for the whole of a truncated answer: %w", err)
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	c := dns.Conn{Conn: conn}
	if err := c.WriteMsg(q); err != nil {
		return fmt.Errorf("sending the probe over tcp: %w", err)
	}
	reply, err := c.ReadMsgHeader(nil)
	if err != nil {
		return fmt.Errorf("reading the answer over tcp: %w", err)
	}
	var a dns.Msg
	if err := fitsQuestion(&a, reply, q); err != nil {
		return err
	}
	return goodAnswer(&t.Config.DNS, &a)
}

// dnsQuestion is a fresh query: random ID, recursion desired, our own OPT.
func dnsQuestion(c *DNSProbe) (*dns.Msg, error) {
	qtype, ok := dns.StringToType[strings.ToUpper(c.Type)]
	if !ok {
		return nil, fmt.Errorf("building the probe: unknown type %q", c.Type)
	}
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	name := dns.Fqdn(c.Name)
	if c.RandomLabel {
		name = below(hex.EncodeToString(random[2:]), name)
	}
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	q.Id = uint16(random[0])<<8 | uint16(random[1])
	q.SetEdns0(probeSize, false)
	return q, nil
}

// below is label in front of a fully qualified name.
func below(label, name string) string {
	if name == "." {
		return label + "."
	}
	return label + "." + name
}

// fitsQuestion unpacks a reply and tells why it is not the answer to q (D22);
// what does not unpack is none either.
func fitsQuestion(a *dns.Msg, reply []byte, q *dns.Msg) error {
	if err := a.Unpack(reply); err != nil {
		return fmt.Errorf("the answer does not parse: %w", err)
	}
	switch {
	case a.Id != q.Id:
		return errors.New("an answer with another id")
	case !a.Response || a.Opcode != q.Opcode:
		return errors.New("a message that is no answer")
	case len(a.Question) != 1 || a.Question[0].Qtype != q.Question[0].Qtype || a.Question[0].Qclass != q.Question[0].Qclass ||
		!strings.EqualFold(a.Question[0].Name, q.Question[0].Name):
		return errors.New("an answer to another question")
	}
	return nil
}

// goodAnswer tells what is wrong with an answer that fits.
func goodAnswer(c *DNSProbe, a *dns.Msg) error {
	rcode := rcodeName(a.Rcode)
	if !slices.ContainsFunc(c.Rcodes, func(want string) bool { return strings.EqualFold(want, rcode) }) {
		return fmt.Errorf("the answer is %s", rcode)
	}
	// Only NOERROR can have an answer: with `rcodes: [NXDOMAIN]` the rcode is all
	// there is to ask for.
	if !c.Answer || a.Rcode != dns.RcodeSuccess {
		return nil
	}
	question := a.Question[0]
	for _, rr := range a.Answer {
		h := rr.Header()
		if strings.EqualFold(h.Name, question.Name) &&
			(h.Rrtype == question.Qtype || h.Rrtype == dns.TypeCNAME || question.Qtype == dns.TypeANY) {
			return nil
		}
	}
	return errors.New("the answer is empty")
}

func rcodeName(rcode int) string {
	if name, ok := dns.RcodeToString[rcode]; ok {
		return name
	}
	return fmt.Sprintf("RCODE%d", rcode)
}
