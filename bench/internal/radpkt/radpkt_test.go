package radpkt

import (
	"bytes"
	"errors"
	"testing"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2866"
)

var secret = []byte("a secret of the test")

// TestAgainstLayeh lets another implementation read what this one writes, and the other way round.
func TestAgainstLayeh(t *testing.T) {
	k := NewKeyer(secret)
	auth := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	for _, password := range []string{"x", "sixteen octets..", "a password that takes three blocks of it"} {
		b := Start(nil, AccessRequest, 7)
		b = Attr(b, MessageAuthenticator, make([]byte, 16))
		b = AttrString(b, UserName, "mario")
		b = k.HidePassword(b, password, auth)
		k.SignRequest(b, auth)
		p, err := radius.Parse(b, secret)
		if err != nil {
			t.Fatal(err)
		}
		if got := rfc2865.UserPassword_GetString(p); got != password {
			t.Errorf("password %q was read as %q", password, got)
		}
		if err := k.CheckRequest(b, true); err != nil {
			t.Error(err)
		}
		shown, ok := k.ShowPassword(nil, Find(b, UserPassword), b[4:20])
		if !ok || string(shown) != password {
			t.Errorf("own password %q was read as %q", password, shown)
		}
		reply, err := p.Response(radius.CodeAccessAccept).Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := k.CheckReply(reply, auth, false); err != nil {
			t.Errorf("layeh's reply: %v", err)
		}
	}
}

func TestAccountingAgainstLayeh(t *testing.T) {
	k := NewKeyer(secret)
	p := radius.New(radius.CodeAccountingRequest, secret)
	if err := rfc2866.AcctSessionID_SetString(p, "s-1"); err != nil {
		t.Fatal(err)
	}
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.CheckRequest(b, false); err != nil {
		t.Errorf("layeh's request: %v", err)
	}
	own := AttrString(Start(nil, AccountingRequest, 9), AcctSessionID, "s-1")
	k.SignRequest(own, [16]byte{})
	if !radius.IsAuthenticRequest(own, secret) {
		t.Error("layeh refuses our Accounting-Request")
	}
	reply := Start(nil, AccountingResponse, 9)
	k.SignReply(reply, [16]byte(own[4:20]))
	if !radius.IsAuthenticResponse(reply, own, secret) {
		t.Error("layeh refuses our Accounting-Response")
	}
}

// TestEveryFlippedBitShows flips each bit of a signed reply and of a signed request.
func TestEveryFlippedBitShows(t *testing.T) {
	k := NewKeyer(secret)
	auth := [16]byte{9}
	request := Attr(Start(nil, AccessRequest, 1), MessageAuthenticator, make([]byte, 16))
	request = AttrString(request, UserName, "mario")
	k.SignRequest(request, auth)
	reply := Attr(Start(nil, AccessAccept, 1), MessageAuthenticator, make([]byte, 16))
	reply = AttrUint32(reply, FramedIPAddress, 0x0a000001)
	k.SignReply(reply, auth)
	for _, packet := range [][]byte{request, reply} {
		for bit := range len(packet) * 8 {
			b := bytes.Clone(packet)
			b[bit/8] ^= 1 << (bit % 8)
			p, err := Parse(b)
			switch {
			case err != nil:
			case packet[0] == AccessRequest:
				err = k.CheckRequest(p, true)
			default:
				err = k.CheckReply(p, auth, true)
			}
			if err == nil {
				t.Errorf("bit %d of code %d flipped, and nobody noticed", bit, packet[0])
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := AttrString(Start(nil, AccessRequest, 1), UserName, "mario")
	setLength(good)
	padded := append(bytes.Clone(good), 0, 0, 0)
	if p, err := Parse(padded); err != nil || len(p) != len(good) {
		t.Errorf("padding: %d octets, %v", len(p), err)
	}
	for name, b := range map[string][]byte{
		"empty": nil, "short": good[:19], "length above the datagram": good[:len(good)-1],
		"attribute of length 1": append(append(bytes.Clone(good[:2]), 0, 22), append(bytes.Clone(good[4:20]), 1, 1)...),
		"attribute past end":    append(append(bytes.Clone(good[:2]), 0, 22), append(bytes.Clone(good[4:20]), 1, 9)...),
	} {
		if _, err := Parse(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
