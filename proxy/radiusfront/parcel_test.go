package radiusfront

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"sereno/proxy/radwire"
)

func TestParcelComesBackAsItWas(t *testing.T) {
	for _, p := range []parcel{
		{nas: netip.MustParseAddr("192.0.2.7"), pool: "main", packet: []byte("packet")},
		{nas: netip.MustParseAddr("2001:db8::7"), pool: "", userName: []byte("ana"), packet: bytes.Repeat([]byte{1}, 4096)},
		{nas: netip.MustParseAddr("192.0.2.7"), pool: "x", userName: []byte{}, packet: []byte{0}},
		{nas: netip.MustParseAddr("192.0.2.7"), pool: "x", sealed: true, packet: []byte{0}},
	} {
		b := appendParcel(nil, &p)
		got, err := parseParcel(b)
		if err != nil || got.nas != p.nas || got.pool != p.pool || got.sealed != p.sealed || !bytes.Equal(got.packet, p.packet) || (got.userName == nil) != (p.userName == nil) || !bytes.Equal(got.userName, p.userName) {
			t.Fatalf("%+v: %+v %v", p, got, err)
		}
		for cut := range b {
			if _, err := parseParcel(b[:cut]); err == nil {
				t.Fatalf("cut to %d of %d bytes it is taken", cut, len(b))
			}
		}
		if _, err := parseParcel(append(b, 0)); err == nil {
			t.Fatal("a byte too much is taken")
		}
	}
}

func TestR42DelayWhereThereIsNoRoomOrNoSense(t *testing.T) {
	var ix radwire.Index
	run := func(p []byte, seconds uint32) []byte {
		t.Helper()
		p, err := radwire.Walk(p, &ix)
		if err != nil {
			t.Fatal(err)
		}
		out, err := radwire.Walk(delayed(make([]byte, 0, radwire.MaxLen), p, &ix, seconds), &ix)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	long := make([]byte, radwire.HeaderLen)
	for len(long) < radwire.MaxLen {
		long = radwire.AppendAttribute(long, 1, make([]byte, min(253, radwire.MaxLen-len(long)-2)))
	}
	radwire.PutHeader(long, radwire.AccountingRequest, 1, len(long))
	if !bytes.Equal(run(long, 5), long) {
		t.Error("a full packet was changed")
	}
	short := acctOf(1, "a", acctStop, avp(radwire.AttrAcctDelayTime, "\x01"))
	if !bytes.Equal(run(short, 5), short) {
		t.Error("a delay of one byte was changed")
	}
	most := run(acctOf(1, "a", acctStop, avp(radwire.AttrAcctDelayTime, "\xff\xff\xff\xf0")), 100)
	if binary.BigEndian.Uint32(ix.FirstValue(most, radwire.AttrAcctDelayTime)) != 0xffffffff {
		t.Error("a delay ran over")
	}
}

func TestR43Classes(t *testing.T) {
	var ix radwire.Index
	for status, want := range map[byte]string{1: "start", 2: "stop", 3: "interim", 7: "stop", 8: "stop", 9: "start", 10: "stop", 13: "stop", 99: "start"} {
		p, err := radwire.Walk(acctOf(1, "a", status), &ix)
		if err != nil {
			t.Fatal(err)
		}
		if got := acctClass(p, &ix).String(); got != want {
			t.Errorf("status %d: %s", status, got)
		}
	}
	p, err := radwire.Walk(plainRequest(radwire.AccountingRequest, 1, nasSecret), &ix)
	if err != nil || acctClass(p, &ix).String() != "start" {
		t.Error("a record without a status is no start")
	}
}
