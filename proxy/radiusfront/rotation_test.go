package radiusfront

import (
	"testing"

	"layeh.com/radius"

	"sereno/proxy/radwire"
)

// unsignedPAP is an Access-Request of which nothing tells the secret.
func unsignedPAP(t *testing.T, id byte, secret, password string) []byte {
	t.Helper()
	req := radius.New(radius.CodeAccessRequest, []byte(secret))
	req.Identifier = id
	auth := radwire.Authenticator(req.Authenticator)
	req.Add(radwire.AttrUserName, radius.Attribute("alice"))
	req.Add(radwire.AttrUserPassword, radwire.NewSecret([]byte(secret)).EncryptPassword(nil, []byte(password), &auth))
	wire, err := req.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// password is what a backend reads in an Access-Request.
func (s *server) password(r received) string {
	auth := radwire.PacketAuthenticator(r.raw)
	return string(radwire.NewSecret([]byte(s.key)).DecryptPassword(nil, attr(s.t, r.raw, radwire.AttrUserPassword), &auth))
}

// TestR15APrefixIsRotatedNASByNAS: who has the new secret already says nothing about the others' unsigned requests.
func TestR15APrefixIsRotatedNASByNAS(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}, config: func(c *Config) {
		c.Clients = []ClientConfig{testClient("pop", "127.0.0.0/8")}
		c.Clients[0].Secret = []string{"next", nasSecret}
	}})
	secrets := map[string]string{"127.0.0.2": nasSecret, "127.0.0.3": "next"}
	for range 2 {
		for address, secret := range secrets {
			nas := newNASFrom(t, address, f.acctAddr())
			req := plainRequest(radwire.AccountingRequest, 1, secret, avp(radwire.AttrAcctSessionID, "s"), avp(radwire.AttrAcctStatusType, "\x00\x00\x00\x01"))
			nas.send(req)
			nas.verified(req, nas.receive(), secret)
		}
		for address, secret := range secrets {
			n := backend.count()
			nas, req := newNASFrom(t, address, f.authAddr()), unsignedPAP(t, 1, secret, "right")
			nas.send(req)
			if got := backend.password(backend.wait(n + 1)[n]); got != "right" {
				t.Errorf("%s: the backend reads the password %q", address, got)
			}
			nas.verified(req, nas.receive(), secret)
		}
	}
}

// TestR15ASecondSecretByReload: in whichever order they stand, the one that was there goes on.
func TestR15ASecondSecretByReload(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}})
	for i, list := range [][]string{{"next", nasSecret}, {nasSecret, "next"}, {nasSecret}} {
		f.reload(func(o *Options) {
			o.Config.Clients = []ClientConfig{testClient("nas", "127.0.0.1")}
			o.Config.Clients[0].Secret = list
		})
		newNAS(t, f.authAddr()).send(unsignedPAP(t, byte(i), nasSecret, "right"))
		if got := backend.password(backend.wait(i + 1)[i]); got != "right" {
			t.Errorf("%q: the backend reads the password %q", list, got)
		}
	}
}
