package bgp

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFramesKeepTheDifferenceBetweenNoneAndUnknown(t *testing.T) {
	for _, o := range []Order{
		{Kind: OrderRoutes, Stamp: 5, Number: 1, Routes: []Route{}},
		{Kind: OrderBeat, Stamp: 6},
		{Kind: OrderRoutes, Stamp: 7, Number: 2, Routes: []Route{{Prefix: netip.MustParsePrefix("2001:db8::/48"), MED: 1, LocalPref: 2, Prepend: 3,
			Communities: []uint32{CommunityNoExport}, LargeCommunities: [][3]uint32{{1, 2, 3}}}}},
		{Kind: OrderSession, Session: &Session{Name: "core-1", Address: netip.MustParseAddr("10.0.0.1"), Password: "fulmine", Family: IPv4}},
	} {
		var b bytes.Buffer
		if err := WriteFrame(&b, o); err != nil {
			t.Fatal(err)
		}
		var got Order
		if err := ReadFrame(iotest.OneByteReader(&b), &got); err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("got %+v, %v, want %+v", got, err, o)
		}
		if err := ReadFrame(&b, &got); err != io.EOF {
			t.Errorf("after the last frame: %v", err)
		}
	}
}

func TestBrokenFramesAreErrors(t *testing.T) {
	for _, s := range []string{"\x00\x00", "\x00\x00\x00\x05{}", "\xff\xff\xff\xff", "\x00\x00\x00\x02{]"} {
		var o Order
		if err := ReadFrame(strings.NewReader(s), &o); err == nil || errors.Is(err, io.EOF) && err == io.EOF {
			t.Errorf("%q: %v", s, err)
		}
	}
	if err := WriteFrame(io.Discard, strings.Repeat("x", MaxFrame)); err == nil {
		t.Error("a frame that nobody reads was written")
	}
}

func FuzzReadFrame(f *testing.F) {
	for _, v := range []any{Order{Kind: OrderRoutes, Routes: []Route{{Prefix: netip.MustParsePrefix("192.0.2.53/32")}}}, Report{State: Established}} {
		var b bytes.Buffer
		if err := WriteFrame(&b, v); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []any{new(Order), new(Report)} {
			if ReadFrame(bytes.NewReader(b), v) != nil {
				continue
			}
			var out bytes.Buffer
			if err := WriteFrame(&out, v); err != nil {
				t.Errorf("what was read cannot be written: %v", err)
			}
		}
	})
}
