package radwire

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

func wordsOf(p []byte) string {
	var out []string
	for _, a := range Text(p) {
		value := a.Value
		if a.Secret {
			value = "(secret)" + value
		}
		out = append(out, a.Name+" = "+value)
	}
	return strings.Join(out, "\n")
}

// TestR45TextIsThatOfADetailFile: the values are what FreeRADIUS writes.
func TestR45TextIsThatOfADetailFile(t *testing.T) {
	u32 := func(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
	p := packet(AccountingRequest, 1,
		attr(AttrUserName, "al\"ice\\\n\xff é"), attr(AttrAcctStatusType, u32(3)), attr(AttrAcctStatusType, u32(77)),
		attr(AttrFramedIPAddress, "\x0a\x01\x02\x03"), attr(AttrFramedIPAddress, "\x0a"), attr(AttrClass, "\x00\x01"),
		attr(AttrEventTimestamp, u32(1795879384)), attr(97, "\x00\x38\x20\x01\x0d\xb8\x00\x01\x00"), attr(97, "\x00\xff\x20\x01"),
		attr(96, "\x02\x00\x00\xff\xfe\x00\x00\x01"), attr(95, "\x20\x01\x0d\xb8"+strings.Repeat("\x00", 11)+"\x01"),
		attr(64, "\x01\x00\x00\x03"), attr(66, "\x01lns"), attr(66, "lac"), attr(250, "new"),
		attr(AttrVendorSpecific, "\x00\x00\x00\x09\x01\x07a=b\"c"), attr(AttrVendorSpecific, "\x00\x00\x13\x0a\x01\x04hi\x02\x03j"),
		attr(AttrVendorSpecific, "\x00\x00\x13\x0a\x01\xffhi"), attr(AttrVendorSpecific, "\x00\x00"),
	)
	want := `User-Name = "al\"ice\\\012\377 é"
Acct-Status-Type = Interim-Update
Acct-Status-Type = 77
Framed-IP-Address = 10.1.2.3
Attr-8 = 0x0a
Class = 0x0001
Event-Timestamp = "Nov 28 2026 15:23:04 UTC"
Framed-IPv6-Prefix = 2001:db8:1::/56
Attr-97 = 0x00ff2001
Framed-Interface-Id = 0200:00ff:fe00:0001
NAS-IPv6-Address = 2001:db8::1
Tunnel-Type:1 = 3
Tunnel-Client-Endpoint:1 = "lns"
Tunnel-Client-Endpoint:0 = "lac"
Attr-250 = 0x6e6577
Cisco-AVPair = "a=b\"c"
Attr-26.4874.1 = 0x6869
Attr-26.4874.2 = 0x6a
Attr-26 = (secret)
Attr-26 = 0x0000`
	if got := wordsOf(p); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestR15TextShowsNoSecret: neither passwords nor what vendors hide.
func TestR15TextShowsNoSecret(t *testing.T) {
	attrs := [][]byte{attr(AttrUserPassword, "SECRET SECRET 16"), attr(AttrCHAPPassword, "SECRET"), attr(AttrTunnelPassword, "SECRET")}
	for h := range vendorCiphers {
		sub := []byte{byte(h.typ), 8}
		if h.vendor == vendorLucent {
			sub = []byte{byte(h.typ >> 8), byte(h.typ), 9}
		}
		attrs = append(attrs, attr(AttrVendorSpecific, string(binary.BigEndian.AppendUint32(nil, h.vendor))+string(sub)+"SECRET"))
	}
	attrs = append(attrs, attr(AttrVendorSpecific, "\x00\x00\x01\x37\x01\x08SECRET"), attr(AttrVendorSpecific, "\x00\x00\x01\x37\x01\xffSECRET"))
	got := Text(packet(AccountingRequest, 1, attrs...))
	if len(got) != len(attrs) {
		t.Fatalf("%d of %d", len(got), len(attrs))
	}
	hex := fmt.Sprintf("%x", "SECRET")
	for _, a := range got {
		if !a.Secret || a.Value != "" || strings.Contains(a.Name, hex) {
			t.Errorf("%+v", a)
		}
	}
}

func FuzzText(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, a := range Text(b) {
			if a.Name == "" || strings.ContainsAny(a.Name+a.Value, "\n\r\x00\x1b") || a.Secret == (a.Value != "") {
				t.Fatalf("%+v", a)
			}
		}
	})
}
