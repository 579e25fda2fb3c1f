package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"sereno/cmd/sereno/internal/admin"
)

const (
	readTimeout   = 10 * time.Second // for the node to answer what is only read
	changeTimeout = 3 * time.Minute  // for the node to make a change; above the node's own
	maxAnswer     = 64 << 20         // bytes
)

// client talks to one node over its socket.
type client struct {
	socket       string
	http         *http.Client
	read, change time.Duration // timeouts
}

func newClient(socket string) *client {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{socket: socket, http: &http.Client{Transport: transport, CheckRedirect: stay}, read: readTimeout, change: changeTimeout}
}

// get reads a document.
func (c *client) get(ctx context.Context, path string, arguments url.Values) ([]byte, error) {
	return c.ask(ctx, c.read, http.MethodGet, path, arguments)
}

// post makes a change and reads its answer into result.
func (c *client) post(ctx context.Context, path string, arguments url.Values, result any) error {
	body, err := c.ask(ctx, c.change, http.MethodPost, path, arguments)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, result); err != nil {
		return c.strange(err)
	}
	return nil
}

// status reads the node's status, and the text that it was.
func (c *client) status(ctx context.Context) (admin.Status, []byte, error) {
	var status admin.Status
	body, err := c.get(ctx, "/api/v1/status", nil)
	if err != nil {
		return status, nil, err
	}
	if err := json.Unmarshal(body, &status); err != nil {
		return status, nil, c.strange(err)
	}
	return status, body, nil
}

func (c *client) ask(ctx context.Context, timeout time.Duration, method, path string, arguments url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	where := url.URL{Scheme: "http", Host: "node", Path: path, RawQuery: arguments.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, where.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("asking the node: %w", err)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(err, timeout)
	}
	defer func() { _ = answer.Body.Close() }() // everything was read, or is not wanted
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, c.unreachable(err, timeout)
	case len(body) > maxAnswer:
		return nil, c.strange(fmt.Errorf("more than %d bytes", maxAnswer))
	case answer.StatusCode != http.StatusOK:
		return nil, c.refusal(answer, body)
	}
	return body, nil
}

// stream gives an answer that may be long, at the pace of who reads it. The caller closes it.
func (c *client) stream(ctx context.Context, path string, arguments url.Values) (*http.Response, error) {
	where := url.URL{Scheme: "http", Host: "node", Path: path, RawQuery: arguments.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("asking the node: %w", err)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(err, c.read)
	}
	if answer.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
		_ = answer.Body.Close() // it is not wanted
		return nil, c.refusal(answer, body)
	}
	return answer, nil
}

// unreachable says in words why no node answers.
func (c *client) unreachable(err error, timeout time.Duration) error {
	if asked := (*url.Error)(nil); errors.As(err, &asked) {
		err = asked.Err
	}
	why := "the connection broke: " + err.Error()
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		why = fmt.Sprintf("something listens there, but has not answered for %s: the node is stuck, frozen or overloaded", timeout)
	case errors.Is(err, fs.ErrNotExist):
		why = "there is no such socket: is sereno running, and with this configuration?"
	case errors.Is(err, syscall.ECONNREFUSED):
		why = "the socket is left from a node that has ended: start it with `sereno run`"
	case errors.Is(err, fs.ErrPermission):
		why = "permission denied: run this as the node's user or as a member of the socket's group"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		why = "it closed the connection: the node is stopping, or has too many connections"
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENAMETOOLONG):
		why = "that cannot be the path of a socket"
	}
	return fmt.Errorf("no node answers on %s: %s", c.socket, why)
}

// refusal is what the node says against it. An argument that only the node could find to
// be wrong is wrong usage.
func (c *client) refusal(answer *http.Response, body []byte) error {
	var said admin.ErrorBody
	if err := json.Unmarshal(body, &said); err != nil || said.Error == "" {
		return c.strange(errors.New(strings.TrimSpace(answer.Status)))
	}
	if answer.StatusCode == http.StatusBadRequest {
		return Exit(Usage, errors.New(said.Error))
	}
	return errors.New(said.Error)
}

// strange is an answer that no node gives.
func (c *client) strange(err error) error {
	return fmt.Errorf("what answers on %s is not a sereno of this version: %w", c.socket, err)
}
