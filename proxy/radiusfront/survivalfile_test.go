package radiusfront

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"layeh.com/radius/rfc2865"

	"sereno/proxy/radwire"
)

// restarted closes a service and starts another in its place, whose backend is down.
func (k *known) restarted(change func(*Options)) *known {
	k.t.Helper()
	if err := k.s.Close(context.Background()); err != nil {
		k.t.Fatal(err)
	}
	s := newServer(k.t, silent)
	next := &known{server: s, id: k.id, front: newFront(k.t, setup{backends: []*server{s}, config: func(c *Config) { c.Survival = k.opts.Config.Survival },
		options: func(o *Options) {
			o.StateDir = k.opts.StateDir
			if change != nil {
				change(o)
			}
		}})}
	next.nas = newNAS(k.t, next.authAddr())
	next.setDown("b0", "auth")
	return next
}

func inDir(dir string) func(*Options) { return func(o *Options) { o.StateDir = dir } }

func TestR60SurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	k := newKnown(t, nil, inDir(dir), avp(radwire.AttrReplyMessage, "welcome"))
	for _, user := range []string{"alice", "bob", "carol\xff"} {
		k.login(user, "right")
	}
	if err := k.s.survivors.flush(k.clock.now()); err != nil {
		t.Fatal(err)
	}
	k.login("bob", "wrong") // rejected: forgotten, on disk too
	next := k.restarted(nil)
	if got := next.accepted("alice", "right"); rfc2865.ReplyMessage_GetString(got) != "welcome" {
		t.Errorf("%v", got.Attributes)
	}
	next.accepted("carol\xff", "right")
	next.silence(next.pap("bob", "right"))
	for _, name := range []string{survivalPath(dir, "pppoe"), survivalKeyPath(dir, "pppoe")} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		if text, _ := os.ReadFile(name); bytes.Contains(text, []byte("right")) {
			t.Error("a password stands on disk")
		}
	}
	// max_age goes on counting while nothing runs.
	late := next.restarted(func(o *Options) { o.Now = func() time.Time { return time.Unix(1_000_000+8*86400, 0) } })
	if n := late.s.Stats().Answers[KindAuth][AnswerAccept][SourceSurvival]; n != 0 {
		t.Fatal(n)
	}
	late.nas.send(late.pap("alice", "right"))
	late.server.wait(1) // it goes the way of every request
	// A clock that was set back makes nobody younger.
	early := next.restarted(func(o *Options) { o.Now = func() time.Time { return time.Unix(1_000_000-60, 0) } })
	if n := early.s.Stats().Survival.Known; n != 0 {
		t.Errorf("%d known from the future", n)
	}
}

func TestR60ADamagedJournalIsNotBelieved(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string, journal []byte) []byte{
		"a torn end": func(_ *testing.T, _ string, b []byte) []byte { return b[:len(b)-7] },
		"a flipped bit of a line that others follow": func(_ *testing.T, _ string, b []byte) []byte { b[80] ^= 1; return b },
		"a flipped bit": func(_ *testing.T, _ string, b []byte) []byte { b[len(b)-20] ^= 1; return b },
		"no line at all": func(_ *testing.T, _ string, b []byte) []byte {
			return append(bytes.Repeat([]byte("x"), 3*maxSurvivalLine), append([]byte("\n"), b[:bytes.IndexByte(b, '\n')+1]...)...)
		},
		"another node's": func(t *testing.T, dir string, b []byte) []byte {
			if err := os.WriteFile(survivalKeyPath(dir, "pppoe"), make([]byte, survivalKeyLen), 0o600); err != nil {
				t.Fatal(err)
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			k := newKnown(t, nil, inDir(dir))
			k.login("alice", "right")
			if err := k.s.survivors.flush(k.clock.now()); err != nil {
				t.Fatal(err)
			}
			k.login("bob", "right")
			if err := k.s.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			path := survivalPath(dir, "pppoe")
			journal, err := os.ReadFile(path)
			if err != nil || bytes.Count(journal, []byte("\n")) != 2 {
				t.Fatalf("%q, %v", journal, err)
			}
			if err := os.WriteFile(path, damage(t, dir, journal), 0o600); err != nil {
				t.Fatal(err)
			}
			next := k.restarted(nil)
			want := 0 // a damaged line may be one that forgets
			if name == "a torn end" {
				want = 1
			}
			if n := next.balanced().Survival.Known; n != want {
				t.Errorf("%d known, want %d", n, want)
			}
			if _, err := os.Stat(path + ".damaged"); (err == nil) != (want == 0) {
				t.Error("the damaged journal was not kept, or a sound one:", err)
			}
			if want == 1 {
				next.accepted("alice", "right")
			}
		})
	}
}

// A disk that takes nothing costs the memory of a crash, not a login.
func TestR60AFailingDiskIsNoHindrance(t *testing.T) {
	dir := t.TempDir()
	k := newKnown(t, nil, inDir(dir))
	k.login("alice", "right")
	path := survivalPath(dir, "pppoe")
	k.s.survivors.saving.Lock()
	k.s.survivors.file.close()
	k.s.survivors.file.path = filepath.Join(dir, "lock-out", "file")
	k.s.survivors.saving.Unlock()
	if err := os.WriteFile(filepath.Join(dir, "lock-out"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.s.survivors.flush(k.clock.now()); err == nil {
		t.Fatal("written into a file as a directory")
	}
	k.s.survivors.saving.Lock()
	k.s.survivors.file.path = path
	k.s.survivors.saving.Unlock()
	if err := k.s.survivors.flush(k.clock.now()); err != nil { // all of it
		t.Fatal(err)
	}
	k.restarted(nil).accepted("alice", "right")
}

func TestR60MemoryAndJournalAreBounded(t *testing.T) {
	s := newSurvivors(newSessions(1).hash, time.Unix(1_000_000, 0))
	dir := t.TempDir()
	s.open(dir, "pppoe", time.Unix(1_000_000, 0), nil)
	attrs := radwire.AppendAttribute(nil, radwire.AttrReplyMessage, bytes.Repeat([]byte("x"), 253))
	var name [4]byte
	for i := range maxSurvivors + 100 {
		binary.BigEndian.PutUint32(name[:], uint32(i))
		s.mu.Lock()
		v := &survivor{user: append([]byte(nil), name[:]...), learned: int64(i), attrs: attrs}
		s.put(s.key("main", v.user), v)
		s.mu.Unlock()
	}
	if n := s.stats(); n.Known != maxSurvivors || n.Bytes != maxSurvivors*(4+255) {
		t.Errorf("%+v", n)
	}
	big := bytes.Repeat(attrs, 15)
	for i := range 20000 {
		binary.BigEndian.PutUint32(name[:], uint32(i))
		s.mu.Lock()
		v := &survivor{user: append([]byte("big"), name[:]...), learned: int64(i), attrs: big}
		s.put(s.key("main", v.user), v)
		s.mu.Unlock()
	}
	if n := s.stats(); n.Bytes > maxSurvivorBytes {
		t.Errorf("%+v", n)
	}
	// The same user again and again: the journal is written anew before it grows much.
	small := newSurvivors(newSessions(1).hash, time.Unix(1_000_000, 0))
	small.open(t.TempDir(), "pppoe", time.Unix(1_000_000, 0), nil)
	l := login{key: small.key("main", []byte("alice")), user: []byte("alice"), secret: []byte("right")}
	for range 1000 {
		small.learn(&l, big, time.Unix(1_000_000, 0))
		if err := small.flush(time.Unix(1_000_000, 0)); err != nil {
			t.Fatal(err)
		}
		if small.file.size > 2*small.file.live+survivalSlack+maxSurvivalLine {
			t.Fatalf("the journal has %d bytes for %d alive", small.file.size, small.file.live)
		}
	}
}

func TestR60ARenamedServiceKeepsWhatItKnows(t *testing.T) {
	dir := t.TempDir()
	k := newKnown(t, nil, inDir(dir))
	k.login("alice", "right")
	if err := k.s.survivors.flush(k.clock.now()); err != nil {
		t.Fatal(err)
	}
	o := k.opts
	o.Config.Name = "renamed"
	if err := k.s.Update(o); err != nil {
		t.Fatal(err)
	}
	next := k.restarted(func(o *Options) { o.Config.Name = "renamed" })
	next.accepted("alice", "right")
	if left, _ := filepath.Glob(filepath.Join(dir, "radius-survival-pppoe*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func FuzzSurvivalJournal(f *testing.F) {
	secret := make([]byte, survivalKeyLen)
	line, err := signSurvivor(nil, secret, &survivorLine{Pool: "main", User: []byte("alice"), At: 1, Salt: make([]byte, saltLen), MAC: make([]byte, 32), Attrs: []byte{18, 3, 'x'}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.TrimSpace(line), false)
	f.Add([]byte(`{"pool":"main","user":"YQ==","mac":"AA=="}`), true)
	f.Fuzz(func(t *testing.T, text []byte, signed bool) {
		if signed { // what only who has the key can write must be harmless too
			s := survivalSigned(secret, text)
			text = s
		}
		l, err := parseSurvivor(secret, text)
		if err != nil {
			return
		}
		if len(l.User) == 0 || l.MAC != nil && !wellFormed(l.Attrs) {
			t.Errorf("accepted %q", text)
		}
		s := &survival{sessionTimeout: 60, static: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
		if l.MAC != nil && !wellFormed(s.fit(l.Attrs, 60)) {
			t.Errorf("what is answered cannot be walked: %q", text)
		}
	})
}

func survivalSigned(secret, text []byte) []byte {
	return append([]byte(hex.EncodeToString(lineMAC(secret, text))+" "), text...)
}
