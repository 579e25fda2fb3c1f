//go:build !linux

package load

import "time"

// newDatagrams is the portable link: other systems have no batches in this form.
func newDatagrams(to receiver, begin time.Time, _ time.Duration, ends []endpoint, _ bool) (link, error) {
	return newStreams(to, begin, ends, streamOptions{network: "udp"})
}

func precise() (done func()) { return func() {} }
