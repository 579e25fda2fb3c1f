package health

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"sereno/proxy/radwire"
)

// probeNAS is the NAS-Identifier of probes, so that a backend's log says who asks
// (RFC 5997 section 3 allows it; RFC 2865 section 4.1 wants it in an Access-Request).
const probeNAS = "sereno"

// probeStatus sends a Status-Server (RFC 5997). What it is answered with depends
// on the port; some servers say Access-Accept on the accounting port too.
func probeStatus(ctx context.Context, t *Target) error {
	p, secret, err := newRADIUSProbe(t, radwire.StatusServer)
	if err != nil {
		return err
	}
	code, err := probeRADIUS(ctx, t, p, secret)
	if err == nil && !radwire.StatusServer.Answers(code) {
		return fmt.Errorf("the answer to status-server is %v", code)
	}
	return err
}

// probeAccess tries to log the configured user in, by PAP.
func probeAccess(ctx context.Context, t *Target) error {
	c := &t.Config.RADIUS
	p, secret, err := newRADIUSProbe(t, radwire.AccessRequest)
	if err != nil {
		return err
	}
	code, err := probeRADIUS(ctx, t, p, secret)
	switch {
	case err != nil:
		return err
	case !radwire.AccessRequest.Answers(code):
		return fmt.Errorf("the answer to access-request is %v", code)
	case c.Expect == "accept" && code != radwire.AccessAccept, c.Expect == "reject" && code != radwire.AccessReject:
		return fmt.Errorf("the answer is %v, expected is %s", code, c.Expect)
	}
	return nil
}

// newRADIUSProbe builds a request: random identifier and authenticator, and
// Message-Authenticator first (RFC 5997 section 3, RFC 3579 section 3.2).
func newRADIUSProbe(t *Target, code radwire.Code) ([]byte, *radwire.Secret, error) {
	var random [1 + radwire.AuthenticatorLen]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	secret := radwire.NewSecret(t.Secret)
	p := make([]byte, radwire.HeaderLen, 256)
	copy(p[4:], random[1:])
	p = radwire.AppendAttribute(p, radwire.AttrMessageAuthenticator, make([]byte, radwire.AuthenticatorLen))
	p = radwire.AppendAttribute(p, radwire.AttrNASIdentifier, []byte(probeNAS))
	auth := radwire.PacketAuthenticator(p)
	if code == radwire.AccessRequest {
		user := t.Config.RADIUS.User
		if user == "" || len(user) > 253 {
			return nil, nil, errors.New("building the probe: the user's name must have 1 to 253 bytes")
		}
		p = radwire.AppendAttribute(p, radwire.AttrUserName, []byte(user))
		p = radwire.AppendAttribute(p, radwire.AttrUserPassword, secret.EncryptPassword(nil, []byte(t.Config.RADIUS.Password), &auth))
	}
	radwire.PutHeader(p, code, random[0], len(p))
	secret.SignMessageAuthenticator(p, radwire.HeaderLen, &auth)
	return p, secret, nil
}

// probeRADIUS makes the exchange and returns the code of the verified answer.
func probeRADIUS(ctx context.Context, t *Target, request []byte, secret *radwire.Secret) (radwire.Code, error) {
	conn, err := dial(ctx, "udp", t)
	if err != nil {
		return 0, fmt.Errorf("opening a socket: %w", err)
	}
	defer func() { _ = conn.Close() }()
	var code radwire.Code
	err = exchange(ctx, conn, request, make([]byte, radwire.MaxLen), func(reply []byte) (bool, error) {
		p, err := verifyRADIUS(reply, request, secret, t.RequireMessageAuthenticator)
		if err != nil {
			return false, err
		}
		code = radwire.PacketCode(p)
		return true, nil
	})
	return code, err
}

// verifyRADIUS tells why a reply is not the backend's answer to request (R10-R12).
func verifyRADIUS(reply, request []byte, secret *radwire.Secret, requireMA bool) ([]byte, error) {
	var ix radwire.Index
	p, err := radwire.Walk(reply, &ix)
	if err != nil {
		return nil, fmt.Errorf("the answer does not parse: %w", err)
	}
	auth := radwire.PacketAuthenticator(request)
	switch {
	case p[1] != request[1]:
		return nil, errors.New("an answer with another identifier")
	case !secret.VerifyResponse(p, &auth):
		return nil, errors.New("an answer whose authenticator does not verify (another secret?)")
	case !ix.Has(radwire.AttrMessageAuthenticator):
		if requireMA {
			return nil, errors.New("an answer without message-authenticator, which is required")
		}
	case !secret.VerifyMessageAuthenticator(p, ix.First[radwire.AttrMessageAuthenticator], &auth):
		return nil, errors.New("an answer whose message-authenticator does not verify")
	}
	return p, nil
}
