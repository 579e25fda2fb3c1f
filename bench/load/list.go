package load

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/miekg/dns"

	"sereno/bench/stub"
)

// Question is one line of a list of names.
type Question struct {
	wire  []byte // name, type and class
	rcode int    // that the answer must have; below 0: NOERROR or NXDOMAIN
	data  []byte // RDATA that one of the answers must have; nil: any
}

const (
	maxList     = 10_000_000 // lines
	maxMistakes = 20         // that are told
)

// ReadQuestions reads a list of names: on each line a name and a type (A, if there is none), and what a right answer
// must have, if anything: an rcode or `-`, and the data of one of its records (an address, or a text):
//
//	www.example.net A
//	www.example.net AAAA NOERROR 2001:db8::1
//	nosuch.example.net A NXDOMAIN
//
// Empty lines and those that begin with # or ; are left out. All mistakes are told, each with its line.
func ReadQuestions(r io.Reader) ([]Question, error) {
	return readList(r, parseQuestion)
}

// readList reads a list with parse, which is given the fields of a line.
func readList[T any](r io.Reader, parse func([]string) (T, error)) ([]T, error) {
	var list []T
	var wrong []error
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' || text[0] == ';' {
			continue
		}
		one, err := parse(strings.Fields(text))
		if err != nil {
			wrong = append(wrong, fmt.Errorf("line %d: %w", n, err))
			if len(wrong) >= maxMistakes {
				break
			}
			continue
		}
		if list = append(list, one); len(list) > maxList {
			return nil, fmt.Errorf("more than %d lines", maxList)
		}
	}
	if err := lines.Err(); err != nil {
		wrong = append(wrong, err)
	}
	if len(wrong) == 0 && len(list) == 0 {
		wrong = append(wrong, errors.New("nothing in it"))
	}
	return list, errors.Join(wrong...)
}

// ReadSubscribers reads a list of subscribers: on each line a name, a password, and, if the server must refuse them,
// the word reject. Neither has white space in it. Empty lines and those that begin with # or ; are left out. All
// mistakes are told, each with its line, and without a password.
func ReadSubscribers(r io.Reader) ([]Subscriber, error) {
	return readList(r, func(fields []string) (Subscriber, error) {
		switch {
		case len(fields) < 2 || len(fields) > 3 || len(fields) == 3 && fields[2] != "reject":
			return Subscriber{}, errors.New("not a name, a password, and perhaps the word reject")
		case len(fields[0]) > 253 || len(fields[1]) > 128:
			return Subscriber{}, errors.New("names have at most 253 octets and passwords 128")
		}
		return Subscriber{Name: fields[0], Password: fields[1], Rejected: len(fields) == 3}, nil
	})
}

func parseQuestion(fields []string) (Question, error) {
	q := Question{rcode: -1}
	kind := "A"
	if len(fields) > 1 {
		kind = strings.ToUpper(fields[1])
	}
	t, ok := dns.StringToType[kind]
	if !ok {
		return q, fmt.Errorf("%q is no type of record", fields[1])
	}
	name := make([]byte, 256)
	n, err := dns.PackDomainName(dns.Fqdn(fields[0]), name, 0, nil, false)
	if err != nil {
		return q, fmt.Errorf("%q is no name: %w", fields[0], err)
	}
	q.wire = binary.BigEndian.AppendUint16(name[:n:n], t)
	q.wire = append(q.wire, 0, dns.ClassINET)
	if len(fields) > 2 && fields[2] != "-" {
		if q.rcode, ok = dns.StringToRcode[strings.ToUpper(fields[2])]; !ok || q.rcode > 15 {
			return q, fmt.Errorf("%q is no rcode", fields[2])
		}
	}
	if len(fields) > 3 {
		if t != dns.TypeA && t != dns.TypeAAAA && t != dns.TypeTXT {
			return q, errors.New("the data can be told of A, AAAA and TXT only")
		}
		rr, err := dns.NewRR(". 0 IN " + kind + " " + strings.Join(fields[3:], " "))
		if err != nil {
			return q, fmt.Errorf("data %q: %w", strings.Join(fields[3:], " "), err)
		}
		packed := make([]byte, 4096)
		end, err := dns.PackRR(rr, packed, 0, nil, false)
		if err != nil {
			return q, fmt.Errorf("data %q: %w", strings.Join(fields[3:], " "), err)
		}
		q.data = packed[11:end]
	}
	return q, nil
}

// plausible judges the answer of a server whose data nobody knows; want is nil where nothing more is expected.
func (q *questions) plausible(query, reply []byte, want *Question) Fate {
	end := len(query) - len(q.opt)
	switch {
	case len(reply) < 12 || reply[2]&0x80 == 0:
		return Malformed
	case len(reply) < end || binary.BigEndian.Uint16(reply[4:]) != 1 || !bytes.Equal(reply[12:end], query[12:end]):
		return WrongQuestion
	}
	rcode := int(reply[3] & 0x0f)
	expected := rcode == stub.RcodeNoError || rcode == stub.RcodeNXDomain
	if want != nil && want.rcode >= 0 {
		expected = rcode == want.rcode
	}
	switch {
	case !expected && rcode == stub.RcodeServfail:
		return Failed
	case !expected:
		return WrongRcode
	case want != nil && want.data != nil && reply[2]&0x02 == 0 && !hasData(reply, end, want):
		return WrongRecords
	}
	return Right
}

// hasData says whether one of the answers is of the asked type and has the expected data. off is where they begin.
func hasData(reply []byte, off int, want *Question) bool {
	kind := binary.BigEndian.Uint16(want.wire[len(want.wire)-4:])
	for range binary.BigEndian.Uint16(reply[6:]) {
		for off < len(reply) && reply[off] != 0 && reply[off] < 0xc0 {
			off += 1 + int(reply[off])
		}
		if off < len(reply) && reply[off] >= 0xc0 {
			off++
		}
		off++
		if off+10 > len(reply) {
			return false
		}
		size := int(binary.BigEndian.Uint16(reply[off+8:]))
		at := off + 10
		if off = at + size; off > len(reply) {
			return false
		}
		if binary.BigEndian.Uint16(reply[at-10:]) == kind && bytes.Equal(reply[at:off], want.data) {
			return true
		}
	}
	return false
}
