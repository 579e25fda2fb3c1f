package radwire

import (
	"bytes"
	"testing"
)

func TestO33MaskHidesEverySecret(t *testing.T) {
	header := make([]byte, HeaderLen)
	attr := func(typ byte, value string) []byte { return append([]byte{typ, byte(len(value) + 2)}, value...) }
	p := header
	for _, typ := range []byte{2, 3, 69, 70, 71, 73, 74, 75, 78, 79, 103, 214, 215} {
		p = append(p, attr(typ, "SECRET")...)
	}
	p = append(p, attr(AttrVendorSpecific, "\x00\x00\x01\x37\x10\x08SECRET")...)
	p = append(p, attr(AttrUserName, "alice")...)
	got := Mask([]byte("hex"), p)
	if bytes.Contains(got, []byte("SECRET")) || !bytes.Contains(got, []byte("alice")) || !bytes.Contains(got, []byte{0, 0, 1, 0x37}) || len(got) != len(p)+3 {
		t.Errorf("%q", got)
	}
	if bytes.Count(p, []byte("SECRET")) != 14 {
		t.Error("the packet was written to")
	}
	for _, tail := range []string{"\x02", "\x02\x01SECRET", "\x02\xffSECRET", "\x01\x00SECRET"} {
		if got := Mask(nil, append(append([]byte{}, header...), tail...)); bytes.Contains(got, []byte("SECRET")) {
			t.Errorf("%q", got)
		}
	}
	if got := Mask(nil, []byte("\x01\x02\x03")); len(got) != 3 {
		t.Errorf("%q", got)
	}
}
