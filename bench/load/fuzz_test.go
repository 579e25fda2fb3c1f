package load

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"sereno/bench/stub"
)

// FuzzLists: a list of names or of subscribers is read or refused, never both; what is read
// can be asked, and no password stands in a mistake.
func FuzzLists(f *testing.F) {
	f.Add([]byte("www.example.net A\n# remark\nwww.example.net AAAA NOERROR 2001:db8::1\nnosuch.example.net A NXDOMAIN\n"))
	f.Add([]byte("txt.example.net TXT - \"one\" \"two\"\nx TXT NOERROR ( ;\nx A NOERROR $INCLUDE /etc/passwd\n"))
	f.Add([]byte("alice secret-of-alice\nbob secret-of-bob reject\ncarol secret-of-carol accept\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		questions, err := ReadQuestions(bytes.NewReader(text))
		if err == nil && len(questions) == 0 || strings.Count(errorText(err), "line ") > maxMistakes+1 {
			t.Fatalf("%d questions, %v", len(questions), err)
		}
		for _, q := range questions {
			var m dns.Msg
			if err := m.Unpack(append([]byte{1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, q.wire...)); err != nil || len(m.Question) != 1 {
				t.Fatalf("%x cannot be asked: %v", q.wire, err)
			}
		}
		subscribers, err := ReadSubscribers(bytes.NewReader(text))
		if err == nil && len(subscribers) == 0 {
			t.Fatal("nobody, and no mistake")
		}
		for _, s := range subscribers {
			if s.Name == "" || s.Password == "" || len(s.Name) > 253 || len(s.Password) > 128 || len(s.Password) > 20 && strings.Contains(errorText(err), s.Password) {
				t.Fatalf("%+v, %v", s, err)
			}
		}
	})
}

// FuzzReply: whatever comes back for a question is judged without harm, and only what has the
// question and an rcode that was expected is right.
func FuzzReply(f *testing.F) {
	list, err := ReadQuestions(strings.NewReader("www.example.net A NOERROR 192.0.2.1\n"))
	if err != nil {
		f.Fatal(err)
	}
	query := append([]byte{1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, list[0].wire...)
	good := bytes.Clone(query)
	good[2], good[7] = 0x81, 1
	good = append(good, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(query)
	q := &questions{}
	f.Fuzz(func(t *testing.T, reply []byte) {
		if q.plausible(query, reply, &list[0]) != Right {
			return
		}
		if reply[2]&0x80 == 0 || binary.BigEndian.Uint16(reply[4:]) != 1 || reply[3]&15 != stub.RcodeNoError || !bytes.Equal(reply[12:len(query)], query[12:]) ||
			reply[2]&2 == 0 && !bytes.Contains(reply, []byte{192, 0, 2, 1}) {
			t.Fatalf("%x is right", reply)
		}
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
