package radpkt

import (
	"encoding/hex"
	"testing"
)

// TestMD4 has RFC 1320's own examples.
func TestMD4(t *testing.T) {
	for text, want := range map[string]string{
		"": "31d6cfe0d16ae931b73c59d7e0c089c0", "abc": "a448017aaf21d8525fc10ae87aa6729d",
		"12345678901234567890123456789012345678901234567890123456789012345678901234567890": "e33b4ddc9c38f2199c3e7b164fcc0536",
	} {
		if got := md4([]byte(text)); hex.EncodeToString(got[:]) != want {
			t.Errorf("%q: %x", text, got)
		}
	}
}

// TestMSCHAPv2 has RFC 2759's own example (§9.2).
func TestMSCHAPv2(t *testing.T) {
	challenge, _ := hex.DecodeString("5B5D7C7D7B3F2F3E3C2C602132262628")
	peer, _ := hex.DecodeString("21402324255E262A28295F2B3A337C7E")
	for _, user := range []string{"User", `DOMAIN\User`} {
		response, success := MSCHAPv2(user, "clientPass", [16]byte(challenge), [16]byte(peer))
		if got := hex.EncodeToString(response[:]); got != "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df" {
			t.Errorf("the response is %s", got)
		}
		if success != "S=407A5589115FD0D6209F510FE9C04566932CDA56" {
			t.Errorf("the success is %s", success)
		}
	}
}

func TestMicrosoftsAttributes(t *testing.T) {
	b := AttrMicrosoft(Start(nil, AccessAccept, 1), MSCHAP2Success, []byte{7}, []byte("S=x"))
	b = Attr(b, VendorSpecific, []byte{0, 0})
	setLength(b)
	packet, err := Parse(b)
	if err != nil || string(FindMicrosoft(packet, MSCHAP2Success)) != "\x07S=x" || FindMicrosoft(packet, MSCHAPChallenge) != nil {
		t.Errorf("%x: %v", b, err)
	}
}
