package dnsfront

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"sereno/proxy/dnswire"
)

// certificate is a pair of files that may change while the service runs (D51). A bad
// pair is warned of, and the old one stays.
type certificate struct {
	cert, key string
	current   atomic.Pointer[tls.Certificate]
	stamp     atomic.Pointer[[2]fileStamp]
}

// fileStamp tells one version of a file from another.
type fileStamp struct {
	changed time.Time
	size    int64
}

func loadCertificate(cert, key string) (*certificate, error) {
	c := &certificate{cert: cert, key: key}
	stamp := c.stamps()
	if err := c.read(); err != nil {
		return nil, err
	}
	c.stamp.Store(&stamp)
	return c, nil
}

func (c *certificate) read() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("reading certificate %s with key %s: %w", c.cert, c.key, err)
	}
	c.current.Store(&pair)
	return nil
}

func (c *certificate) stamps() (out [2]fileStamp) {
	for i, path := range []string{c.cert, c.key} {
		if info, err := os.Stat(path); err == nil {
			out[i] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	return out
}

// refresh reads the files again if they have changed. changed is true once for each
// version that was looked at.
func (c *certificate) refresh() (changed bool, err error) {
	stamp := c.stamps()
	if stamp == *c.stamp.Load() {
		return false, nil
	}
	c.stamp.Store(&stamp)
	return true, c.read()
}

// name is the first name that the certificate is for.
func (c *certificate) name() string {
	if leaf := c.current.Load().Leaf; leaf != nil && len(leaf.DNSNames) > 0 {
		return leaf.DNSNames[0]
	}
	return ""
}

// expires is when the certificate runs out; zero without one.
func (c *certificate) expires() time.Time {
	if c == nil {
		return time.Time{}
	}
	if leaf := c.current.Load().Leaf; leaf != nil {
		return leaf.NotAfter
	}
	return time.Time{}
}

// tlsConfig is how connections are taken: TLS 1.2 at least, the given protocols (ALPN),
// whatever certificate counts when a client comes, and each client in its turn.
func (s *Service) tlsConfig(which func(*settings) *certificate, protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols, GetConfigForClient: s.hello,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if err := s.takeTurn(hello); err != nil {
				return nil, err
			}
			if c := which(s.settings.Load()); c != nil {
				return c.current.Load(), nil
			}
			return nil, errNoCertificate // a reload has just closed the listener
		},
	}
}

var errNoCertificate = errors.New("no certificate")

// certificates loads what set needs, taking over from old what stays.
func (set *settings) certificates(old *settings) error {
	load := func(listen []string, cert, key string, was *certificate) (*certificate, error) {
		if len(listen) == 0 {
			return nil, nil
		}
		if was != nil && was.cert == cert && was.key == key {
			_, err := was.refresh()
			return was, err
		}
		return loadCertificate(cert, key)
	}
	var before settings
	if old != nil {
		before = *old
	}
	var err error
	c := &set.cfg
	if set.tls, err = load(c.TLS.Listen, c.TLS.Certificate, c.TLS.Key, before.tls); err != nil {
		return err
	}
	if set.https, err = load(c.HTTPS.Listen, c.HTTPS.Certificate, c.HTTPS.Key, before.https); err != nil {
		return err
	}
	set.designated = designated(set)
	return nil
}

// certificateLook is how often the files are looked at.
const certificateLook = 2 * time.Second

// followCertificates looks at the files again and again, on goroutines that nobody waits
// for: a file system that has gone away can hold them up for ever.
func (s *Service) followCertificates() {
	tick := time.NewTicker(certificateLook)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if set := s.settings.Load(); set.tls == nil && set.https == nil {
			continue
		}
		looked := make(chan struct{})
		go func() {
			defer close(looked)
			s.watchCertificates()
		}()
		select {
		case <-s.stop:
			return
		case <-looked:
		}
	}
}

// watchCertificates takes up files that have changed.
func (s *Service) watchCertificates() {
	set := s.settings.Load()
	for _, c := range []*certificate{set.tls, set.https} {
		if c == nil {
			continue
		}
		if changed, err := c.refresh(); changed {
			s.log.certificate(c, err)
		}
	}
}

// designated makes the SVCB records that lead clients from here to our encrypted
// listeners (RFC 9461, 9462). Without a name there is nothing to lead to.
func designated(set *settings) (out [][]byte) {
	name := set.cfg.TLS.Name
	if name == "" && set.tls != nil {
		name = set.tls.name()
	}
	if name == "" && set.https != nil {
		name = set.https.name()
	}
	target, ok := dnswire.ParseName(nil, name)
	if !ok {
		return nil
	}
	for i, list := range [][]string{set.cfg.TLS.Listen, set.cfg.HTTPS.Listen} {
		for port, hints := range portsOf(list) {
			r := append([]byte{0, byte(i + 1)}, target...)
			r = svcParam(r, 1, [][]byte{[]byte("\x03dot"), []byte("\x02h2")}[i])
			r = svcParam(r, 3, []byte{byte(port >> 8), byte(port)})
			if len(hints.v4) > 0 {
				r = svcParam(r, 4, hints.v4)
			}
			if len(hints.v6) > 0 {
				r = svcParam(r, 6, hints.v6)
			}
			if i == 1 {
				r = svcParam(r, 7, []byte(set.cfg.HTTPS.Path+"{?dns}"))
			}
			out = append(out, r)
		}
	}
	return out
}

func svcParam(dst []byte, key byte, value []byte) []byte {
	return append(append(dst, 0, key, byte(len(value)>>8), byte(len(value))), value...)
}
