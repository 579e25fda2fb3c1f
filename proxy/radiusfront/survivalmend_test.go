package radiusfront

import (
	"fmt"
	"hash/maphash"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"layeh.com/radius"

	"sereno/proxy/radwire"
)

// TestR60ARejectByAnotherMethodForgetsToo: the account is what was rejected.
func TestR60ARejectByAnotherMethodForgetsToo(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}, config: func(c *Config) { c.Survival.Mode = "known-password" }})
	n := newNAS(t, f.authAddr())
	for i, attrs := range [][]*radius.AVP{
		{avp(radwire.AttrCHAPPassword, "\x01"+strings.Repeat("c", 16))},
		{avp(radwire.AttrEAPMessage, "\x02\x01\x00\x0a\x01alice")},
	} {
		backend.setAnswer(accept)
		n.exchange(pap(t, byte(2*i), "alice", "right"))
		if known := f.balanced().Survival.Known; known != 1 {
			t.Fatalf("%d known", known)
		}
		backend.setAnswer(func(r received) []byte { return r.respond(radius.CodeAccessReject, backendSecret) })
		n.exchange(signed(radwire.AccessRequest, byte(2*i+1), nasSecret, append(attrs, avp(1, "alice"))...))
		if known := f.balanced().Survival.Known; known != 0 {
			t.Errorf("%d known after a Reject", known)
		}
	}
}

// TestR60WhatAnEarlierProcessKnewIsRemovedWhileItIsOff: who was rejected meanwhile must
// not be known when it is on again.
func TestR60WhatAnEarlierProcessKnewIsRemovedWhileItIsOff(t *testing.T) {
	dir := t.TempDir()
	backend := newServer(t, accept)
	on := func(c *Config) { c.Survival.Mode = "known-password" }
	f := newFront(t, withSpool(dir, setup{backends: []*server{backend}, config: on}))
	newNAS(t, f.authAddr()).exchange(pap(t, 1, "alice", "right"))
	f.stop()
	if _, err := os.Stat(survivalPath(dir, "pppoe")); err != nil {
		t.Fatal(err)
	}
	newFront(t, withSpool(dir, setup{backends: []*server{backend}})).stop()
	for _, path := range []string{survivalPath(dir, "pppoe"), survivalKeyPath(dir, "pppoe")} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestR60ASessionTimeoutOfZeroIsNoBound(t *testing.T) {
	s := newSurvival(&SurvivalConfig{Mode: "known-password"})
	got := s.fit(radwire.AppendAttribute(nil, radwire.AttrSessionTimeout, make([]byte, 4)), 1800)
	if v, ok := secondsOf(got[2:]); !ok || v != 1800 || len(got) != 6 {
		t.Errorf("%x", got)
	}
}

// TestR60ALateRejectForgets: the backend was only slow, and does not know the password.
func TestR60ALateRejectForgets(t *testing.T) {
	k := newKnown(t, nil, nil)
	k.login("alice", "right")
	k.fall()
	k.accepted("alice", "right")
	asked := k.server.wait(2)[1]
	k.server.send(asked.respond(radius.CodeAccessReject, backendSecret), asked.from)
	k.untilReply(ReplyLate, 1)
	k.silence(k.pap("alice", "right"))
}

// TestR60NobodyComesBackFromADiskThatTakesNothing: who was forgotten stays forgotten.
func TestR60NobodyComesBackFromADiskThatTakesNothing(t *testing.T) {
	dir := t.TempDir()
	k := newKnown(t, nil, inDir(dir))
	k.login("alice", "right")
	s := k.s.survivors
	if err := s.flush(k.clock.now()); err != nil {
		t.Fatal(err)
	}
	s.saving.Lock()
	_ = s.file.f.Close() // every write fails
	s.saving.Unlock()
	k.login("alice", "wrong")
	for s.flush(k.clock.now()) == nil { // the keeper may have been quicker
		if info, err := os.Stat(survivalPath(dir, "pppoe")); err == nil && info.Size() == 0 {
			break
		}
	}
	if n := k.restarted(nil).balanced().Survival.Known; n != 0 {
		t.Errorf("%d known", n)
	}
}

// TestR60AnotherServiceIsAnotherLogin: its Accept says other things.
func TestR60AnotherServiceIsAnotherLogin(t *testing.T) {
	k := newKnown(t, nil, nil)
	k.login("alice", "right", avp(attrServiceType, "\x00\x00\x00\x02"))
	k.fall()
	k.silence(k.pap("alice", "right", avp(attrServiceType, "\x00\x00\x00\x01")))
	k.accepted("alice", "right", avp(attrServiceType, "\x00\x00\x00\x02"))
}

// TestR60ForgottenWhileAllIsWrittenAnew: logins are let in between while the journal is written, and whoever is rejected
// in that time does not come back with a restart; who is accepted does.
func TestR60ForgottenWhileAllIsWrittenAnew(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	seed := maphash.MakeSeed()
	hash := func(v []byte) uint64 { return maphash.Bytes(seed, v) }
	s := newSurvivors(hash, now)
	s.open(dir, "pppoe", now, zap.NewNop())
	const users = 3000
	user := func(i int) *login {
		name := []byte(fmt.Sprint("user-", i))
		return &login{key: s.key("main", name), user: name}
	}
	for i := range users {
		if i%3 > 0 {
			s.learn(user(i), nil, now)
		}
	}
	var changing sync.WaitGroup
	changing.Go(func() { // of three one is new, one is forgotten, one stays
		for i := range users {
			switch i % 3 {
			case 0:
				s.learn(user(i), nil, now)
			case 1:
				s.forget(user(i).key)
			}
		}
	})
	for range 5 {
		s.saving.Lock()
		s.file.close() // so all is written anew
		s.saving.Unlock()
		if err := s.flush(now); err != nil {
			t.Error(err)
		}
	}
	changing.Wait()
	if err := s.flush(now); err != nil {
		t.Fatal(err)
	}
	s.shut()
	again := newSurvivors(hash, now)
	again.open(dir, "pppoe", now, zap.NewNop())
	for i := range users {
		if _, known := again.recall(user(i), nil, now, int64(time.Hour)); known != (i%3 != 1) {
			t.Fatalf("user %d of %d is known: %v", i, again.count, known)
		}
	}
}
