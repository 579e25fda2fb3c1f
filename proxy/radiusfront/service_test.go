package radiusfront

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"

	"sereno/proxy/radwire"
)

// TestD53SecondInstanceEndsWithAMessage: the sockets of both would share the packets otherwise, without a word.
func TestD53SecondInstanceEndsWithAMessage(t *testing.T) {
	f := newFront(t, setup{backends: []*server{newServer(t, accept)}})
	o := f.opts
	o.Config.Auth, o.Config.Acct = []string{f.authAddr().String()}, nil
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), f.authAddr().String()) {
		t.Error(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	newNAS(t, f.authAddr()).exchange(pap(t, 1, "alice", "x"))
}

func TestR14AuthenticationAndAccountingThrough(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		backend := newServer(t, nil)
		backend.setAnswer(func(r received) []byte {
			if radwire.PacketCode(r.raw) == radwire.AccountingRequest {
				return accept(r)
			}
			req, err := radius.Parse(r.raw, []byte(backendSecret))
			if err != nil || rfc2865.UserPassword_GetString(req) != "correct horse battery staple" {
				return r.respond(radius.CodeAccessReject, backendSecret)
			}
			return r.respond(radius.CodeAccessAccept, backendSecret, avp(radwire.AttrClass, "gold"))
		})
		f := newFront(t, setup{backends: []*server{backend}, plain: plain, workers: 2})
		nas := newNAS(t, f.authAddr())
		got := nas.exchange(pap(t, 1, "alice", "correct horse battery staple"))
		if got.Code != radius.CodeAccessAccept || string(got.Get(radwire.AttrClass)) != "gold" {
			t.Errorf("right password: %v", got)
		}
		if got = nas.exchange(pap(t, 2, "alice", "wrong")); got.Code != radius.CodeAccessReject {
			t.Errorf("wrong password: %v", got.Code)
		}
		acct := newNAS(t, f.acctAddr())
		if got = acct.exchange(acctRequest(3, "s1")); got.Code != radius.CodeAccountingResponse {
			t.Errorf("accounting: %v", got.Code)
		}
		st := f.balanced()
		if st.Answers[KindAuth][AnswerAccept][SourceBackend] != 1 || st.Answers[KindAuth][AnswerReject][SourceBackend] != 1 || st.Answers[KindAcct][AnswerAccounting][SourceBackend] != 1 {
			t.Errorf("books: %+v", st.Answers)
		}
		if st.Latency[KindAuth].Count() != 2 || f.s.Packets() == 0 {
			t.Errorf("latency of %d, %d packets", st.Latency[KindAuth].Count(), f.s.Packets())
		}
		if n := f.auth.Backends()[0].InFlight(); n != 0 {
			t.Errorf("%d slots of the backend are not given back", n)
		}
	})
}

func TestCloseAnswersWhatIsInFlight(t *testing.T) {
	hold := make(chan received, 1)
	backend := newServer(t, func(r received) []byte { hold <- r; return nil })
	f := newFront(t, setup{backends: []*server{backend}})
	nas := newNAS(t, f.authAddr())
	req := pap(t, 1, "alice", "x")
	nas.send(req)
	r := <-hold
	closed := make(chan error, 1)
	go func() { closed <- f.s.Close(context.Background()) }()
	f.until("closing", func(*Stats) bool {
		w := f.s.workers[0]
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.closing
	})
	newNAS(t, f.authAddr()).send(pap(t, 9, "bob", "x"))
	f.untilDropped(KindAuth, ReasonClosing, 1)
	backend.send(accept(r), r.from)
	if got := nas.verified(req, nas.receive(), nasSecret); got.Code != radius.CodeAccessAccept {
		t.Errorf("got %v", got.Code)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := f.s.Close(context.Background()); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestCloseWithSilentBackendEndsWithItsContext(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, setup{backends: []*server{backend}})
	newNAS(t, f.authAddr()).send(pap(t, 1, "alice", "x"))
	backend.wait(1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.s.Close(ctx); err == nil {
		t.Error("a request was left, and nothing is said")
	}
}

func TestStartNamesAPortInUse(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}})
	o := f.opts
	o.Config.Auth, o.Config.Acct = []string{f.authAddr().String()}, nil
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err = s.Start(); err == nil {
		t.Fatal("two services on one port")
	}
	if err = s.Start(); err == nil {
		t.Error("a failed service starts again")
	}
}

func TestNewRefusesWhatIsNotThere(t *testing.T) {
	f := newFront(t, setup{backends: []*server{newServer(t, accept)}})
	for name, change := range map[string]func(*Options){
		"pool":    func(o *Options) { o.Config.Pool = "other" },
		"route":   func(o *Options) { o.Config.Routes = []Route{{Realm: "x", Pool: "other"}} },
		"listen":  func(o *Options) { o.Config.Auth = []string{"nowhere"} },
		"client":  func(o *Options) { o.Config.Clients = []ClientConfig{{Address: "x"}} },
		"secrets": func(o *Options) { o.Config.Clients = []ClientConfig{{Address: "10.0.0.1"}} },
		"hash key": func(o *Options) {
			rp := o.Pools["main"]
			rp.HashKey = []string{"Nonsense"}
			o.Pools = map[string]RolePools{"main": rp}
		},
	} {
		o := f.opts
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted by New", name)
		}
		if err := f.s.Update(o); err == nil {
			t.Errorf("%s: accepted by Update", name)
		}
	}
	if got := newNAS(t, f.authAddr()).exchange(pap(t, 1, "a", "b")); got.Code != radius.CodeAccessAccept {
		t.Errorf("a refused update changed something: %v", got.Code)
	}
}
