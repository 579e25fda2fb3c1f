package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// probe makes one real exchange with the target (A02). It returns before ctx's
// deadline, give or take the scheduler.
func probe(ctx context.Context, t *Target) Result {
	r := Result{Start: time.Now()}
	var err error
	switch {
	case t.Protocol == "dns":
		err = probeDNS(ctx, t)
	case t.Protocol == "radius" && t.Role == "auth" && t.Config.RADIUS.Method == "access-request":
		err = probeAccess(ctx, t)
	default:
		err = probeStatus(ctx, t)
	}
	r.End = time.Now()
	if err == nil {
		r.OK, r.Latency = true, r.End.Sub(r.Start)
		return r
	}
	r.Reason, r.Detail = ReasonProbeFailed, err.Error()
	var op *net.OpError
	if errors.As(err, &op) && !op.Timeout() {
		r.Reason, r.Detail = classify(err)
	}
	return r
}

// dial opens a connected UDP socket, so that ICMP's word about the port comes
// back as an error of the next read, and no stranger's datagram is ever read.
func dial(ctx context.Context, network string, t *Target) (net.Conn, error) {
	d := net.Dialer{}
	if t.Source.IsValid() {
		switch network {
		case "udp":
			d.LocalAddr = &net.UDPAddr{IP: t.Source.AsSlice(), Zone: t.Source.Zone()}
		case "tcp":
			d.LocalAddr = &net.TCPAddr{IP: t.Source.AsSlice(), Zone: t.Source.Zone()}
		}
	}
	conn, err := d.DialContext(ctx, network, t.Addr.String())
	if err != nil {
		return nil, err
	}
	if at, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(at); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn, nil
}

// exchange sends a request and reads datagrams until one is accepted, or none
// came in time. What does not fit is no answer, and the wait goes on (D22, R11):
// accept then says what was wrong with it.
func exchange(ctx context.Context, conn net.Conn, request, buf []byte, accept func(reply []byte) (done bool, err error)) error {
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(request); err != nil {
		return fmt.Errorf("sending the probe: %w", err)
	}
	var misfit error
	for {
		n, err := conn.Read(buf)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && misfit != nil {
				return fmt.Errorf("no valid answer in time: %w", misfit)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return errNoAnswer
			}
			return fmt.Errorf("reading the answer: %w", err)
		}
		done, err := accept(buf[:n])
		if done {
			return err
		}
		misfit = err
	}
}

var errNoAnswer = errors.New("no answer in time")
