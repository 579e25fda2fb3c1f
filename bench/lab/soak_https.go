package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"

	"sereno/bench/internal/servers"
	"sereno/bench/load"
)

// httpsClient asks over HTTPS (RFC 8484), over one HTTP/2 connection for as long as that lasts, and keeps the same
// books as the load generators do.
type httpsClient struct {
	every  time.Duration
	client http.Client
	failed func(name string, try int, err error) // told of each try that failed
	wg     sync.WaitGroup

	mu    sync.Mutex
	books load.Books
}

func newHTTPSClient(rate float64, failed func(name string, try int, err error)) *httpsClient {
	c := &httpsClient{failed: failed, every: time.Duration(float64(time.Second) / rate)}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: netip.MustParseAddr(subscriberAddress).AsSlice()}}
	c.client.Transport = &http.Transport{
		ForceAttemptHTTP2: true,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: 2 * time.Second, PingTimeout: 2 * time.Second}, // as browsers find dead connections
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},                                             //nolint:gosec // the soak's own certificate
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = within(subscribers, func() error {
				conn, err = dialer.DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
	}
	return c
}

// run asks until ctx ends, and waits for the answers.
func (c *httpsClient) run(ctx context.Context) (load.Books, error) {
	begin := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		select {
		case <-time.After(time.Until(begin.Add(time.Duration(n) * c.every))):
		case <-ctx.Done():
			continue
		}
		c.book(func(b *load.Books) { b.Sent++; b.Elapsed = time.Since(begin) })
		c.wg.Go(func() { c.ask(n) })
	}
	c.wg.Wait()
	c.client.CloseIdleConnections()
	return c.snapshot(), nil
}

func (c *httpsClient) book(do func(*load.Books)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do(&c.books)
}

// snapshot is a copy of the books.
func (c *httpsClient) snapshot() load.Books {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.books
	b.Waiting = b.Sent - b.Answered - b.Wrong - b.Lost
	b.Faulty = append([]string(nil), b.Faulty...)
	return b
}

// ask asks one question until it is answered rightly: names of which half are asked again and again.
func (c *httpsClient) ask(n int) {
	due := time.Now()
	name := fmt.Sprintf("s%d.%s.load.test.", n%200, servers.LoadLabels)
	if n%2 == 1 {
		name = fmt.Sprintf("new%d.%s.load.test.", n, servers.LoadLabels)
	}
	for try := range mostTries {
		if try > 0 {
			time.Sleep(time.Until(due.Add(time.Duration(try) * askAgain)))
			c.book(func(b *load.Books) { b.Resent++ })
		}
		fate, err := c.exchange(name)
		switch {
		case err != nil || fate == load.Failed:
			if err == nil {
				err = errors.New(fate.String())
				c.book(func(b *load.Books) { b.Fates[fate]++ })
			}
			c.failed(name, try, err)
			continue
		case fate == load.Right:
			c.book(func(b *load.Books) { b.Answered++; b.Fates[fate]++; b.Latency.Add(time.Since(due)) })
		default:
			c.book(func(b *load.Books) {
				b.Wrong++
				b.Fates[fate]++
				if len(b.Faulty) < 5 {
					b.Faulty = append(b.Faulty, fate.String()+": "+name)
				}
			})
		}
		return
	}
	c.book(func(b *load.Books) { b.Lost++ })
}

// exchange asks once, and judges the answer.
func (c *httpsClient) exchange(name string) (load.Fate, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askAgain-100*time.Millisecond)
	defer cancel()
	question := new(dns.Msg).SetQuestion(name, dns.TypeA)
	question.Id = 0
	packed, err := question.Pack()
	if err != nil {
		return load.Malformed, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://192.0.2.53/dns-query", bytes.NewReader(packed))
	if err != nil {
		return load.Malformed, err
	}
	request.Header.Set("Content-Type", "application/dns-message")
	reply, err := c.client.Do(request)
	if err != nil {
		return load.Malformed, err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(io.LimitReader(reply.Body, dns.MaxMsgSize))
	if err != nil {
		return load.Malformed, err
	}
	return judge(question, reply.StatusCode, body), nil
}

func judge(question *dns.Msg, status int, body []byte) load.Fate {
	var m dns.Msg
	switch {
	case status != http.StatusOK || m.Unpack(body) != nil:
		return load.Malformed
	case len(m.Question) != 1 || m.Question[0] != question.Question[0]:
		return load.WrongQuestion
	case m.Rcode == dns.RcodeServerFailure:
		return load.Failed
	case m.Rcode != dns.RcodeSuccess:
		return load.WrongRcode
	}
	if len(m.Answer) == 1 {
		if a, ok := m.Answer[0].(*dns.A); ok && a.A.String() == "192.0.2.53" && a.Hdr.Name == question.Question[0].Name && a.Hdr.Ttl <= 60 {
			return load.Right
		}
	}
	return load.WrongRecords
}
