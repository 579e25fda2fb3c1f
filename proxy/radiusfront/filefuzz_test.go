package radiusfront

import (
	"bytes"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"sereno/proxy/insight"
	"sereno/proxy/radwire"
)

// FuzzLearntFile: whatever stands in the file of what was learnt, the service starts with
// it, within its bounds; what is written is read the same.
func FuzzLearntFile(f *testing.F) {
	f.Add([]byte(`{"sources":[{"address":"10.1.0.1","signs":true},{"address":"2001:db8::1","proxy":true}],"backends":[{"pool":"main","backend":"fulmine","role":"auth"}]}`))
	f.Add([]byte(`{"sources":[{"address":""},{"address":"::ffff:10.1.0.1"},{"address":"fe80::1%eth0"}],"backends":[{}]}`))
	f.Add([]byte(`{torn`))
	dir := f.TempDir()
	log, _ := observer.New(zap.WarnLevel)
	logger := zap.New(log)
	repeats := insight.NewRepeats(logger)
	f.Fuzz(func(t *testing.T, b []byte) {
		l := newLearnt(dir, "pppoe", logger, repeats)
		if err := os.WriteFile(l.path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		err := l.read()
		if err != nil && len(l.sources)+len(l.backends) > 0 {
			t.Fatalf("%v, and %v, %v", err, l.sources, l.backends)
		}
		if len(l.sources) > maxSources || len(l.backends) > maxSources {
			t.Fatalf("%d sources, %d backends", len(l.sources), len(l.backends))
		}
		l.dirty.Store(true)
		l.save()
		again := newLearnt(dir, "pppoe", logger, repeats)
		if err := again.read(); err != nil || len(again.sources) != len(l.sources) || len(again.backends) != len(l.backends) {
			t.Fatalf("%v: %v, %v, written were %v, %v", err, again.sources, again.backends, l.sources, l.backends)
		}
		for a, s := range l.sources {
			if o := again.sources[a]; o == nil || o.signs.Load() != s.signs.Load() || o.proxy != s.proxy {
				t.Fatalf("%v: %+v was written, %+v is read", a, s, o)
			}
		}
	})
}

// FuzzSurvivalFile: of a journal of which one line is not this node's nobody is known, and
// whatever can be known is within the bounds.
func FuzzSurvivalFile(f *testing.F) {
	dir := f.TempDir()
	now := time.Unix(1_000_000, 0)
	key := bytes.Repeat([]byte{7}, survivalKeyLen)
	line := func(l survivorLine) []byte {
		b, err := signSurvivor(nil, key, &l)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	alice := survivorLine{Pool: "main", User: []byte("alice"), At: 999_000, Salt: make([]byte, saltLen), MAC: make([]byte, 32), Attrs: radwire.AppendAttribute(nil, 18, []byte("x"))}
	bob, late := alice, alice
	bob.User, late.User, late.At = []byte("bob"), []byte("late"), 2_000_000
	gone := survivorLine{Pool: "main", User: []byte("alice")}
	whole := bytes.Join([][]byte{line(alice), line(bob), line(gone), line(late)}, nil)
	f.Add(whole)
	f.Add(whole[:len(whole)-9])
	f.Add(append(bytes.Clone(whole), "rubbish\n"...))
	f.Add(bytes.Repeat([]byte("y"), maxSurvivalLine+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		for path, content := range map[string][]byte{survivalPath(dir, "pppoe"): b, survivalKeyPath(dir, "pppoe"): key} {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := newSurvivors(newSessions(1).hash, now)
		s.open(dir, "pppoe", now, zap.NewNop())
		foreign := false
		lines := bytes.SplitAfter(b, []byte("\n"))
		for _, l := range lines {
			text, ended := bytes.CutSuffix(l, []byte("\n"))
			if !ended {
				foreign = foreign || len(l) > maxSurvivalLine // a torn end is usual, if it can be the beginning of a line
				continue
			}
			if _, err := parseSurvivor(key, text); err != nil {
				foreign = true
			}
		}
		known := s.stats().Known
		if foreign && known > 0 || known > len(lines) {
			t.Fatalf("%d are known of %q", known, b)
		}
		if s.file != nil {
			s.file.close()
		}
	})
}

// FuzzParcel: a record of the spool is read whole or refused; what is read is the same when it
// was written again, and a packet that can be walked still can with its delay.
func FuzzParcel(f *testing.F) {
	f.Add(appendParcel(nil, &parcel{nas: netip.MustParseAddr("192.0.2.7"), pool: "main", packet: acctRequest(2, "s")}))
	f.Add(appendParcel(nil, &parcel{nas: netip.MustParseAddr("2001:db8::7"), pool: "x", userName: []byte("ana"), sealed: true, packet: acctOf(1, "a", acctStop, avp(radwire.AttrAcctDelayTime, "\xff\xff\xff\xf0"))}))
	f.Add([]byte{parcelVersion, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseParcel(b)
		if err != nil {
			return
		}
		q, err := parseParcel(appendParcel(nil, &p))
		if err != nil || q.nas != p.nas || q.pool != p.pool || q.sealed != p.sealed || (q.userName == nil) != (p.userName == nil) || !bytes.Equal(q.userName, p.userName) || !bytes.Equal(q.packet, p.packet) {
			t.Fatalf("%+v is read as %+v, %v", p, q, err)
		}
		var ix radwire.Index
		packet, err := radwire.Walk(p.packet, &ix)
		if err != nil {
			return
		}
		out := delayed(make([]byte, 0, radwire.MaxLen), packet, &ix, 5)
		if _, err := radwire.Walk(out, &ix); err != nil || len(out) > radwire.MaxLen {
			t.Fatalf("%x with its delay: %x, %v", packet, out, err)
		}
	})
}
