package admin

import (
	"context"
	"fmt"
	"time"
)

// fakeSpools are the spools of pppoe and dsl, each with n records of which every tenth is
// set aside and, if rotten, the third cannot be read.
type fakeSpools struct {
	n      uint64
	rotten bool
	err    error // of a walk, in its middle
}

func (f *fakeSpools) SpoolTotals() []SpoolTotals {
	return []SpoolTotals{{Service: "pppoe", Records: int64(f.n), SetAside: int64(f.n / 10)}, {Service: "dsl", Records: int64(f.n)}}
}

func (f *fakeSpools) record(service string, n uint64, attributes bool) SpoolRecord {
	r := SpoolRecord{
		Record: SpoolName{service, n}.String(), Service: service, Session: fmt.Sprint("s", n%7), User: fmt.Sprint("u", n%5),
		NAS: "10.1.0.1", Type: "Start", Stored: Instant{time.Unix(1795879384, 0)}, State: SpoolWaiting,
	}
	if n%10 == 0 {
		r.State = SpoolSetAside
	}
	if f.rotten && n == 3 {
		return SpoolRecord{Record: r.Record, Service: service, Damaged: true}
	}
	if attributes {
		r.Attributes = []SpoolAttribute{{Name: "User-Name", Value: fmt.Sprintf("%q", r.User)}, {Name: "User-Password", Secret: true}}
	}
	return r
}

func (f *fakeSpools) WalkSpools(q SpoolQuery, each func(SpoolName, *SpoolRecord) bool) error {
	begun := q.After == (SpoolName{})
	for _, service := range []string{"pppoe", "dsl"} {
		if q.Service != "" && q.Service != service {
			continue
		}
		for n := uint64(1); n <= f.n; n++ {
			if !begun && (service != q.After.Service || n <= q.After.Number) {
				continue
			}
			begun = true
			if f.err != nil && n > f.n/2 {
				return f.err
			}
			r := f.record(service, n, q.Attributes)
			fits := (q.Session == "" || r.Session == q.Session) && (q.User == "" || r.User == q.User) && (!q.Aside || r.State == SpoolSetAside)
			if !fits && !each(SpoolName{service, n}, nil) || fits && !each(SpoolName{service, n}, &r) {
				return nil
			}
		}
		begun = begun || service == q.After.Service
	}
	return nil
}

func (n *fakeNode) RetrySpooled(_ context.Context, q SpoolQuery) (SpoolChanged, error) {
	return SpoolChanged{Records: 2}, n.note("retry %+v", q)
}

func (n *fakeNode) DropSpooled(_ context.Context, q SpoolQuery) (SpoolChanged, error) {
	return SpoolChanged{Records: 3, Busy: 1}, n.note("drop %+v", q)
}
