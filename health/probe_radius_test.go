package health

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2869"
)

const testSecret = "backend-secret"

// radiusServer is a small real server on loopback, built on another
// implementation than the probes. bend makes datagrams of a request; it gets the
// parsed request, which has been verified.
func radiusServer(t *testing.T, bend func(q *radius.Packet) [][]byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			q, err := radius.Parse(buf[:n], []byte(testSecret))
			if err != nil {
				t.Errorf("a probe that does not parse: %v", err)
				continue
			}
			if !messageAuthenticatorFits(buf[:n], q) {
				t.Error("a probe whose message-authenticator does not fit")
			}
			for _, b := range bend(q) {
				_, _ = conn.WriteTo(b, from)
			}
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		serving.Wait()
	})
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// messageAuthenticatorFits checks RFC 3579 section 3.2 in the plainest way, and
// that it is the first attribute.
func messageAuthenticatorFits(raw []byte, q *radius.Packet) bool {
	got := rfc2869.MessageAuthenticator_Get(q)
	if len(got) != 16 || raw[20] != 80 {
		return false
	}
	zeroed := append([]byte(nil), raw...)
	copy(zeroed[22:38], make([]byte, 16))
	mac := hmac.New(md5.New, []byte(testSecret))
	mac.Write(zeroed)
	return hmac.Equal(mac.Sum(nil), got)
}

// answer encodes a reply, with a Message-Authenticator of the given kind: "good",
// "bad" or "none".
func answer(t *testing.T, q *radius.Packet, code radius.Code, ma string) []byte {
	t.Helper()
	r := q.Response(code)
	if ma != "none" {
		if err := rfc2869.MessageAuthenticator_Set(r, make([]byte, 16)); err != nil {
			t.Error(err)
		}
		raw, err := r.Encode()
		if err != nil {
			t.Error(err)
			return nil
		}
		copy(raw[4:20], q.Authenticator[:])
		mac := hmac.New(md5.New, []byte(testSecret))
		mac.Write(raw)
		sum := mac.Sum(nil)
		if ma == "bad" {
			sum[0] ^= 1
		}
		if err := rfc2869.MessageAuthenticator_Set(r, sum); err != nil {
			t.Error(err)
		}
	}
	raw, err := r.Encode()
	if err != nil {
		t.Error(err)
	}
	return raw
}

func radiusTarget(addr netip.AddrPort, role string) Target {
	t := Target{
		Key: Key{"radius", "fulmine", role}, Protocol: "radius", Addr: addr, AttemptTimeout: 1500 * time.Millisecond,
		Secret: []byte(testSecret),
	}
	t.Config.SetDefaults("radius")
	return t
}

func TestR34StatusServerProbeVerifiesTheAnswer(t *testing.T) {
	for _, c := range []struct {
		name, role string
		bend       func(t *testing.T, q *radius.Packet) [][]byte
		require    bool
		waits      bool   // until its timeout
		want       string // in the detail; "": good
	}{
		{"accept", "auth", reply(radius.CodeAccessAccept, "good"), false, false, ""},
		{"accept without message-authenticator", "auth", reply(radius.CodeAccessAccept, "none"), false, false, ""},
		{"which is required", "auth", reply(radius.CodeAccessAccept, "none"), true, true, "without message-authenticator, which is required"},
		{"required and there", "auth", reply(radius.CodeAccessAccept, "good"), true, false, ""},
		{"accounting-response", "acct", reply(radius.CodeAccountingResponse, "good"), false, false, ""},
		{"accept on the accounting port", "acct", reply(radius.CodeAccessAccept, "good"), false, false, ""},
		{"reject", "auth", reply(radius.CodeAccessReject, "good"), false, false, "the answer to status-server is Access-Reject"},
		{"bad message-authenticator", "auth", reply(radius.CodeAccessAccept, "bad"), false, true, "message-authenticator does not verify"},
		{"another secret", "auth", func(t *testing.T, q *radius.Packet) [][]byte {
			q.Secret = []byte("another")
			return [][]byte{answer(t, q, radius.CodeAccessAccept, "none")}
		}, false, true, "authenticator does not verify (another secret?)"},
		{"another identifier", "auth", func(t *testing.T, q *radius.Packet) [][]byte {
			q.Identifier++
			return [][]byte{answer(t, q, radius.CodeAccessAccept, "none")}
		}, false, true, "another identifier"},
		{"rubbish", "auth", func(*testing.T, *radius.Packet) [][]byte { return [][]byte{{2, 1}} }, false, true, "does not parse"},
		{"padding after the length", "auth", func(t *testing.T, q *radius.Packet) [][]byte {
			return [][]byte{append(answer(t, q, radius.CodeAccessAccept, "good"), 0, 0, 0)}
		}, false, false, ""},
		{"wrong ones, then the right one", "auth", func(t *testing.T, q *radius.Packet) [][]byte {
			right := answer(t, q, radius.CodeAccessAccept, "good")
			wrong := bytes.Clone(right)
			wrong[5] ^= 1
			return [][]byte{{}, wrong, right[:21], right}
		}, false, false, ""},
		{"silence", "acct", func(*testing.T, *radius.Packet) [][]byte { return nil }, false, true, errNoAnswer.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr := radiusServer(t, func(q *radius.Packet) [][]byte {
				if q.Code != radius.CodeStatusServer || rfc2865.NASIdentifier_GetString(q) != "sereno" || len(q.Attributes) != 2 {
					t.Errorf("the probe is %v with %d attributes", q.Code, len(q.Attributes))
				}
				return c.bend(t, q)
			})
			target := radiusTarget(addr, c.role)
			target.RequireMessageAuthenticator = c.require
			target.Config.Timeout = 10 * time.Second
			if c.waits {
				target.Config.Timeout = 500 * time.Millisecond
			}
			result := probeOnce(t, &target)
			if c.want == "" && !result.OK || c.want != "" && (result.OK || !strings.Contains(result.Detail, c.want)) {
				t.Errorf("%+v; want %q", result, c.want)
			}
			if strings.Contains(result.Detail, testSecret) {
				t.Error("the secret is in the error")
			}
		})
	}
}

func reply(code radius.Code, ma string) func(t *testing.T, q *radius.Packet) [][]byte {
	return func(t *testing.T, q *radius.Packet) [][]byte { return [][]byte{answer(t, q, code, ma)} }
}

func TestR34AccessRequestProbeLogsIn(t *testing.T) {
	const user, password = "probe@example.net", "a password of more than sixteen bytes"
	server := func(t *testing.T) netip.AddrPort {
		return radiusServer(t, func(q *radius.Packet) [][]byte {
			switch q.Code {
			case radius.CodeStatusServer:
				return [][]byte{answer(t, q, radius.CodeAccountingResponse, "good")}
			case radius.CodeAccessRequest:
				code := radius.CodeAccessReject
				if rfc2865.UserName_GetString(q) == user && rfc2865.UserPassword_GetString(q) == password {
					code = radius.CodeAccessAccept
				}
				if rfc2865.UserName_GetString(q) == "challenge" {
					code = radius.CodeAccessChallenge
				}
				if rfc2865.UserName_GetString(q) == "nonsense" {
					code = radius.CodeAccountingResponse
				}
				return [][]byte{answer(t, q, code, "good")}
			}
			t.Errorf("the probe is %v", q.Code)
			return nil
		})
	}
	for _, c := range []struct{ name, user, password, expect, want string }{
		{"accept", user, password, "accept", ""},
		{"accept, any", user, password, "any", ""},
		{"accept, but a reject is expected", user, password, "reject", "the answer is Access-Accept, expected is reject"},
		{"reject", user, "wrong", "reject", ""},
		{"reject, any", user, "wrong", "any", ""},
		{"reject, but an accept is expected", user, "", "accept", "the answer is Access-Reject, expected is accept"},
		{"challenge, any", "challenge", "", "any", ""},
		{"challenge, but an accept is expected", "challenge", "", "accept", "the answer is Access-Challenge, expected is accept"},
		{"another code", "nonsense", "", "any", "the answer to access-request is Accounting-Response"},
		{"nobody", "", "", "any", "the user's name must have"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := radiusTarget(server(t), "auth")
			target.Config.Timeout = 10 * time.Second
			target.Config.RADIUS = RADIUSProbe{Method: "access-request", AcctProbe: "status-server", User: c.user, Password: c.password, Expect: c.expect}
			result := probeOnce(t, &target)
			if c.want == "" && !result.OK || c.want != "" && (result.OK || !strings.Contains(result.Detail, c.want)) {
				t.Errorf("%+v; want %q", result, c.want)
			}
			if strings.Contains(result.Detail, password) {
				t.Error("the password is in the error")
			}
		})
	}
	t.Run("accounting is asked by status-server", func(t *testing.T) {
		target := radiusTarget(server(t), "acct")
		target.Config.Timeout = 10 * time.Second
		target.Config.RADIUS.Method, target.Config.RADIUS.User = "access-request", user
		if result := probeOnce(t, &target); !result.OK {
			t.Error(result)
		}
	})
}

func TestR34AClosedPortIsABadProbeAtOnce(t *testing.T) {
	target := radiusTarget(closedPort(t), "auth")
	target.Config.Timeout = time.Minute
	if result := probeOnce(t, &target); result.OK || result.Reason != ReasonRefused {
		t.Error(result)
	}
}

func TestA02IdentifiersAndAuthenticatorsOfProbesAreFresh(t *testing.T) {
	target := radiusTarget(netip.AddrPort{}, "auth")
	seen := map[[16]byte]bool{}
	ids := map[byte]bool{}
	for range 100 {
		p, _, err := newRADIUSProbe(&target, 12)
		if err != nil {
			t.Fatal(err)
		}
		seen[[16]byte(p[4:20])], ids[p[1]] = true, true
	}
	if len(seen) != 100 || len(ids) < 50 {
		t.Errorf("100 probes had %d authenticators and %d identifiers", len(seen), len(ids))
	}
	if target.Config.RADIUS.User = strings.Repeat("x", 254); target.Config.RADIUS.User != "" {
		if _, _, err := newRADIUSProbe(&target, 1); err == nil {
			t.Error("a user's name of 254 bytes went in")
		}
	}
}

func TestA04ClassifyKnowsAClosedPort(t *testing.T) {
	c, err := net.Dial("udp", closedPort(t).String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for err == nil { // the refusal comes back with the second call
		_, err = c.Write([]byte("x"))
	}
	if reason, detail := classify(err); reason != ReasonRefused || detail == "" {
		t.Errorf("%v is %q, %q", err, reason, detail)
	}
	if reason, _ := classify(errors.New("whatever")); reason != ReasonUnreachable {
		t.Errorf("another error is %q", reason)
	}
	if reason, detail := classify(nil); reason != ReasonUnreachable || detail == "" {
		t.Errorf("no error is %q, %q", reason, detail)
	}
}
