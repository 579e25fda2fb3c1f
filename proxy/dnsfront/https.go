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
	"strings"
	"time"

	"go.uber.org/zap"

	"sereno/proxy/dnswire"
	"sereno/proxy/udp"
)

const (
	mediaType = "application/dns-message" // RFC 8484 §6
	maxHeader = 16 << 10                  // octets of a request's header: a GET carries the whole query
	// maxRequests bounds the requests that are being answered, over all connections, and so
	// that there is Options.MaxQueued for requestMemory of each; who comes then is told to
	// come again.
	maxRequests   = 1 << 14
	leastRequests = 1 << 8
	requestMemory = 16 << 10 // octets: a goroutine, a stream, net/http's buffer
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
		ConnContext: withConn, ConnState: connState,
		ErrorLog: zap.NewStdLog(zap.NewNop()), // clients can cause failed handshakes at will
	}
}

// serveHTTPS runs the server until the listener is closed.
func (l *listener) serveHTTPS() {
	if err := l.http.ServeTLS(&capped{Listener: l.tcp, s: l.s}, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		l.s.log.acceptFailed(l, err)
	}
}

// request answers one HTTP request, in bounded number. Who comes beyond it gets no body: that would wait for its client.
func (l *listener) request(w http.ResponseWriter, r *http.Request) {
	set, x := l.s.settings.Load(), &l.s.streams
	defer x.settle(r.Context(), set.cfg.TCP.MaxPipelined)
	if r.Context().Err() != nil {
		return // nothing is asked for who has gone
	}
	defer x.requests.Add(-1)
	if x.requests.Add(1) > x.maxRequests {
		x.refused[RefusedRequests].Add(1)
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	wait := x.newAnswer(r.Context())
	defer wait.leave()
	l.answer(set, w, r, wait)
	if !wait.conn.hand(set.cfg.TCP.MaxPipelined) {
		_ = http.NewResponseController(w).Flush() // the client may have gone
	}
}

// answer writes the answer to a request, or what is wrong with it.
func (l *listener) answer(set *settings, w http.ResponseWriter, r *http.Request, wait *httpAnswer) {
	if r.URL.Path != set.cfg.HTTPS.Path {
		http.Error(w, "there is nothing here", http.StatusNotFound)
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
	out, status := l.ask(r.Context(), dest, m, wait)
	if out == nil {
		http.Error(w, http.StatusText(status), status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(out)))
	h.Set("Cache-Control", "max-age="+strconv.FormatUint(uint64(leastTTL(out)), 10)) // RFC 8484 §5.1
	_, _ = w.Write(out)                                                              // the client may have gone
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
		if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(kind), mediaType) { // RFC 9110 §8.3.1
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
		select {
		case out = <-wait.ch:
			return out, 0
		case <-ctx.Done():
		case <-s.stop:
		}
	case answered, exempt: // it is there, unless the connection has been let go
	}
	select {
	case out = <-wait.ch: // also while the service stops
		return out, 0
	default:
		return nil, http.StatusServiceUnavailable
	}
}

// leastTTL is the least TTL of an answer in seconds, 0 if it has no record.
func leastTTL(m []byte) uint32 {
	var r dnswire.Reply
	if dnswire.ParseReply(m, &r) != nil || r.MinTTL == math.MaxUint32 {
		return 0
	}
	return r.MinTTL
}
