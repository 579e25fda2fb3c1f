package dnsfront

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"sereno/proxy/dnswire"
	"sereno/proxy/udp"
)

const (
	mediaType = "application/dns-message" // RFC 8484 §6
	maxHeader = 16 << 10                  // octets of a request's header: a GET carries the whole query
	// maxRequests bounds the requests that are being answered, over all connections; who
	// comes then is told to come again.
	maxRequests = 1 << 14
	// windowHTTP2 is how much one connection may send that nobody has read yet, in octets.
	windowHTTP2 = 1 << 16
)

// newHTTPS makes the server of one listener (RFC 8484, over HTTP/2 and, for who cannot
// do better, HTTP/1.1).
func (l *listener) newHTTPS(set *settings) *http.Server {
	idle := set.cfg.TCP.IdleTimeout
	return &http.Server{
		Handler: http.HandlerFunc(l.request), TLSConfig: l.s.tlsConfig(func(x *settings) *certificate { return x.https }, "h2", "http/1.1"),
		ReadHeaderTimeout: idle, ReadTimeout: idle, WriteTimeout: idle + 10*time.Second, IdleTimeout: idle, MaxHeaderBytes: maxHeader,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: set.cfg.TCP.MaxPipelined, MaxReadFrameSize: 1 << 14,
			MaxReceiveBufferPerConnection: windowHTTP2, MaxReceiveBufferPerStream: windowHTTP2,
			WriteByteTimeout: idle}, // without it who never reads is never let go: WriteTimeout ends its streams only
		ConnContext: withConn,
		ErrorLog:    zap.NewStdLog(zap.NewNop()), // clients can cause failed handshakes at will
	}
}

// serveHTTPS runs the server until the listener is closed.
func (l *listener) serveHTTPS() {
	if err := l.http.ServeTLS(&capped{Listener: l.tcp, s: l.s}, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		l.s.log.acceptFailed(l, err)
	}
}

// capped takes no more connections than the configuration allows, in all and from one
// client, together with those over TCP and TLS.
type capped struct {
	net.Listener
	s *Service
}

func (c *capped) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, local := addrOf(conn.RemoteAddr()).Addr(), addrOf(conn.LocalAddr()).Addr()
		if client, ok := c.s.streams.admit(peer, local); ok {
			return &cappedConn{Conn: &shaking{Conn: conn, s: c.s, peer: peer}, s: c.s, client: client}, nil
		}
		_ = conn.Close() // nothing was promised
	}
}

type cappedConn struct {
	net.Conn
	s      *Service
	client netip.Prefix
	once   sync.Once
	heard  atomic.Bool // we have written to it: its hello has come
}

// SetReadDeadline leaves a connection that has said nothing yet no more time than an idle one has now.
func (c *cappedConn) SetReadDeadline(t time.Time) error {
	if !c.heard.Load() && !t.IsZero() {
		if most := time.Now().Add(c.s.streams.idle(&c.s.settings.Load().cfg.TCP)); most.Before(t) {
			t = most
		}
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *cappedConn) Write(b []byte) (int, error) {
	c.heard.Store(true)
	return c.Conn.Write(b)
}

func (c *cappedConn) Close() error {
	c.once.Do(func() { c.s.streams.release(c.client) })
	return c.Conn.Close()
}

// request answers one HTTP request.
func (l *listener) request(w http.ResponseWriter, r *http.Request) {
	set := l.s.settings.Load()
	if r.URL.Path != set.cfg.HTTPS.Path {
		http.Error(w, "there is nothing here", http.StatusNotFound)
		return
	}
	x := &l.s.streams
	defer x.settle(r.Context(), set.cfg.TCP.MaxPipelined)
	if r.Context().Err() != nil {
		return // nothing is asked for who has gone
	}
	defer x.requests.Add(-1)
	if x.requests.Add(1) > maxRequests {
		x.refused[RefusedRequests].Add(1)
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests at once", http.StatusServiceUnavailable)
		return
	}
	m, status, err := l.message(w, r)
	if err != nil {
		if status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", "GET, POST")
		}
		http.Error(w, err.Error(), status)
		return
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || l.s.closing.Load() {
		http.Error(w, "the service is closing", http.StatusServiceUnavailable)
		return
	}
	dest := udp.Dest{Peer: netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), peer.Port())}
	wait := x.newAnswer(r.Context())
	defer wait.leave()
	out, status := l.ask(r.Context(), dest, m, wait)
	if out == nil {
		http.Error(w, http.StatusText(status), status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(out)))
	h.Set("Cache-Control", "max-age="+strconv.FormatUint(uint64(leastTTL(out)), 10)) // RFC 8484 §5.1
	if _, err := w.Write(out); err != nil {
		return // the client has gone
	}
	// Until the client takes it, it counts here: net/http would wait for that on its own.
	_ = http.NewResponseController(w).Flush() // likewise
}

// message takes the query out of a request (RFC 8484 §4.1), or tells what is wrong. Bodies
// that are or may be long are read in bounded number, as over TCP; beyond it only ordinary ones.
func (l *listener) message(w http.ResponseWriter, r *http.Request) ([]byte, int, error) {
	var m []byte
	var err error
	switch r.Method {
	case http.MethodGet:
		m, err = base64.RawURLEncoding.DecodeString(r.URL.Query().Get("dns"))
		if err != nil {
			return nil, http.StatusBadRequest, errors.New("dns is not base64url without padding")
		}
	case http.MethodPost:
		if r.Header.Get("Content-Type") != mediaType {
			return nil, http.StatusUnsupportedMediaType, fmt.Errorf("the content type must be %s", mediaType)
		}
		most := int64(dnswire.MaxMessage)
		if r.ContentLength < 0 || r.ContentLength > ordinaryQuery {
			large := &l.s.streams.large
			defer large.Add(-1)
			if large.Add(1) > maxLarge {
				l.s.streams.refused[RefusedLong].Add(1)
				most = ordinaryQuery
			}
		}
		if m, err = io.ReadAll(http.MaxBytesReader(w, r.Body, most)); err != nil {
			var big *http.MaxBytesError
			if errors.As(err, &big) {
				return nil, http.StatusRequestEntityTooLarge, errors.New("longer than a DNS message can be")
			}
			return nil, http.StatusBadRequest, errors.New("the body could not be read")
		}
	default:
		return nil, http.StatusMethodNotAllowed, errors.New("only GET and POST")
	}
	if len(m) < dnswire.HeaderLen || dnswire.Flags(m)&dnswire.FlagQR != 0 {
		return nil, http.StatusBadRequest, errors.New("not a DNS query")
	}
	return m, 0, nil
}

// ask answers one query: from here, or from a backend by way of a worker. nil: there is
// no answer, and status says what the client gets.
func (l *listener) ask(ctx context.Context, dest udp.Dest, m []byte, wait *httpAnswer) (out []byte, status int) {
	s := l.s
	post, r := s.take(&s.async[int(dest.Peer.Port())%len(s.async)], HTTPS, dest, m, wait)
	switch r {
	case dropped:
		return nil, http.StatusForbidden
	case faulted:
		return nil, http.StatusInternalServerError
	case missed:
		s.workers[post.hash%uint64(len(s.workers))].post(post)
	case answered, exempt: // it is there, unless the connection has been let go
	}
	select {
	case out = <-wait.ch:
		return out, 0
	case <-ctx.Done():
	case <-s.stop:
	}
	return nil, http.StatusServiceUnavailable
}

// leastTTL is the least TTL of an answer in seconds, 0 if it has no record.
func leastTTL(m []byte) uint32 {
	var r dnswire.Reply
	if dnswire.ParseReply(m, &r) != nil || r.MinTTL == math.MaxUint32 {
		return 0
	}
	return r.MinTTL
}
