package app

import (
	"context"
	"strings"
	"testing"
	"time"

	"sereno/cmd/sereno/internal/admin"
)

func TestO24TopAndTracesOfARunningNode(t *testing.T) {
	s := newSite(t)
	n := s.start()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	following, err := n.TraceDNS(admin.DNSTrace{Name: "followed.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer following.Close()
	top := make(chan admin.Top, 1)
	go func() {
		answer, err := n.Top(ctx, admin.TopQuestion{For: time.Second, Limit: 2})
		if err != nil {
			t.Error(err)
		}
		top <- answer
	}()
	var answer admin.Top
	for running := true; running; {
		for _, name := range []string{"often.example", "often.example", "seldom.example"} {
			if err := asks(s.dns, name); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case answer = <-top:
			running = false
		default:
		}
	}
	if err := asks(s.dns, "www.followed.example"); err != nil {
		t.Fatal(err)
	}
	checkTop(t, answer)
	var steps []string
	for len(steps) == 0 || steps[len(steps)-1] != "answer" {
		line, ok := following.Next(ctx)
		if !ok {
			t.Fatalf("only %v", steps)
		}
		if line.Service != "resolver" || line.Request != 1 {
			t.Errorf("%+v", line)
		}
		steps = append(steps, line.Step)
	}
	if got := strings.Join(steps, " "); got != "received cache route backend reply answer" {
		t.Errorf("%s", got)
	}
}

func checkTop(t *testing.T, answer admin.Top) {
	t.Helper()
	if len(answer.Services) != 2 || answer.Services[1].Kind != "radius" || answer.Services[0].Requests < 3 || answer.Window < 0.9 {
		t.Fatalf("%+v", answer)
	}
	names, clients := answer.Services[0].Lists[0], answer.Services[0].Lists[1]
	if names.Of != "names" || len(names.Entries) != 2 || names.Entries[0].Key != "often.example." || names.Entries[0].Share < 0.5 {
		t.Errorf("%+v", names)
	}
	if clients.Of != "clients" || len(clients.Entries) != 1 || clients.Entries[0].Key != "127.0.0.1" || clients.Entries[0].Requests != answer.Services[0].Requests {
		t.Errorf("%+v", clients)
	}
}

func TestO24WhatIsNotThereIsRefused(t *testing.T) {
	s := newSite(t)
	n := s.start()
	if _, err := n.Top(context.Background(), admin.TopQuestion{Service: "none", For: time.Second}); err == nil {
		t.Error("a service that is not there was counted")
	}
	if _, err := n.TraceDNS(admin.DNSTrace{Name: "a..b"}); err == nil {
		t.Error("a name that is none was followed")
	}
	if following, err := n.TraceRADIUS(admin.RADIUSTrace{User: "alice"}); err != nil {
		t.Error(err)
	} else {
		following.Close()
	}
}
