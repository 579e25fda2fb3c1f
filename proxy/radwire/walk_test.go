package radwire

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestR01LengthAndPadding(t *testing.T) {
	good := packet(AccessRequest, 7, attr(AttrUserName, "alice"))
	long := packet(AccessRequest, 7, bytes.Repeat(attr(AttrClass, strings.Repeat("x", 253)), 16))
	tests := []struct {
		name string
		in   []byte
		want error
		len  int
	}{
		{"empty", nil, ErrLength, 0},
		{"19 bytes", good[:19], ErrLength, 0},
		{"length 19", func() []byte { b := bytes.Clone(good); PutHeader(b, 1, 7, 19); return b }(), ErrLength, 0},
		{"length above the datagram", good[:len(good)-1], ErrLength, 0},
		{"length 4097", func() []byte {
			b := append(bytes.Clone(long), make([]byte, 100)...)
			PutHeader(b, 1, 7, MaxLen+1)
			return b
		}(), ErrLength, 0},
		{"exact", good, nil, len(good)},
		{"padded", append(bytes.Clone(good), 1, 2, 3), nil, len(good)},
		{"header only", packet(AccountingRequest, 1), nil, HeaderLen},
		{"longest", func() []byte {
			b := append(bytes.Clone(long[:HeaderLen]), bytes.Repeat(attr(AttrClass, strings.Repeat("x", 252)), 16)...)
			b = append(b, attr(AttrClass, strings.Repeat("y", MaxLen-len(b)-2))...)
			PutHeader(b, 1, 7, len(b))
			return b
		}(), nil, MaxLen},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var ix Index
			p, err := Walk(tt.in, &ix)
			if !errors.Is(err, tt.want) || (err == nil && len(p) != tt.len) {
				t.Fatalf("got %d bytes, %v; want %d, %v", len(p), err, tt.len, tt.want)
			}
		})
	}
}

func TestR01PaddingIsNotHashed(t *testing.T) {
	s := NewSecret([]byte("secret"))
	p := packet(AccountingRequest, 3, attr(AttrAcctSessionID, "0001"))
	s.SignRequest(p)
	var ix Index
	got, err := Walk(append(bytes.Clone(p), 0, 0, 0), &ix)
	if err != nil || !s.VerifyRequest(got) {
		t.Fatalf("padded request does not verify: %v", err)
	}
}

func TestR02AttributeLengths(t *testing.T) {
	for _, tt := range []struct {
		name  string
		attrs []byte
		want  error
	}{
		{"length 0", []byte{1, 0, 1, 3, 'a'}, ErrAttribute},
		{"length 1", []byte{1, 1, 1, 3, 'a'}, ErrAttribute},
		{"past the end", []byte{1, 5, 'a', 'b'}, ErrAttribute},
		{"one byte left", []byte{1, 3, 'a', 1}, ErrAttribute},
		{"length 2 is empty, and seen", []byte{1, 2, 4, 2}, nil},
	} {
		var ix Index
		if _, err := Walk(packet(AccessRequest, 1, tt.attrs), &ix); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestR06MessageAuthenticatorAtTopLevelOnly(t *testing.T) {
	ma := attr(AttrMessageAuthenticator, strings.Repeat("m", 16))
	inner := vsa(9, ma)
	var ix Index
	if _, err := Walk(packet(AccessRequest, 1, ma, attr(AttrUserName, "x"), ma), &ix); !errors.Is(err, ErrTwoMessageAuthenticators) {
		t.Errorf("two at the top level: %v", err)
	}
	if _, err := Walk(packet(AccessRequest, 1, attr(AttrMessageAuthenticator, "short")), &ix); !errors.Is(err, ErrMessageAuthenticator) {
		t.Errorf("one of 5 bytes: %v", err)
	}
	if _, err := Walk(packet(AccessRequest, 1, inner), &ix); err != nil || ix.Has(AttrMessageAuthenticator) {
		t.Errorf("inner type 80 counted: %v, %v", err, ix.First[AttrMessageAuthenticator])
	}
	if _, err := Walk(packet(AccessRequest, 1, inner, ma), &ix); err != nil || ix.First[AttrMessageAuthenticator] != uint16(HeaderLen+len(inner)) {
		t.Errorf("inner and outer: %v, at %d", err, ix.First[AttrMessageAuthenticator])
	}
}

func TestWalkIndexes(t *testing.T) {
	p := packet(AccessRequest, 1,
		attr(AttrUserName, "alice@example.net"), attr(AttrUserPassword, "0123456789abcdef"), attr(AttrUserPassword, "0123456789abcdef"),
		attr(AttrProxyState, "a"), attr(AttrState, "st"), attr(AttrProxyState, "b"), attr(AttrState, "other"))
	ix := mustWalk(t, p)
	if got := string(ix.FirstValue(p, AttrUserName)); got != "alice@example.net" {
		t.Errorf("user name %q", got)
	}
	if got := string(ix.FirstValue(p, AttrState)); got != "st" {
		t.Errorf("state %q", got)
	}
	if ix.ProxyStates != 2 || string(Value(p, ix.LastProxyState)) != "b" || ix.UserPasswords != 2 {
		t.Errorf("proxy-states %d last %q, passwords %d", ix.ProxyStates, Value(p, ix.LastProxyState), ix.UserPasswords)
	}
	if ix.FirstValue(p, AttrClass) != nil || ix.Has(AttrClass) {
		t.Error("an absent attribute has a value")
	}
}

func TestIsMSCHAP(t *testing.T) {
	for _, tt := range []struct {
		p    []byte
		want bool
	}{
		{packet(AccessRequest, 1, attr(AttrUserName, "x")), false},
		{packet(AccessRequest, 1, vsa(311, attr(16, "x"))), false},
		{packet(AccessRequest, 1, vsa(9, attr(25, "x"))), false},
		{packet(AccessRequest, 1, vsa(311, attr(7, "x"), attr(25, "x"))), true},
		{packet(AccessRequest, 1, vsa(9, attr(1, "x")), vsa(311, attr(1, "x"))), true},
		{packet(AccessRequest, 1, vsa(311, []byte{7, 0, 0, 0})), false},
		{packet(AccessRequest, 1, vsa(311, []byte{7, 200, 0, 0})), false},
	} {
		ix := mustWalk(t, tt.p)
		if got := IsMSCHAP(tt.p, &ix); got != tt.want {
			t.Errorf("%x: %v", tt.p, got)
		}
	}
}
