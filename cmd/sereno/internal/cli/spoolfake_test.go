package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sereno/cmd/sereno/internal/admin"
)

// fakeSpools is the spool of pppoe: n records, every tenth set aside, the rotten one damaged.
type fakeSpools struct {
	n, rotten uint64
}

func (f *fakeSpools) SpoolTotals() []admin.SpoolTotals {
	return []admin.SpoolTotals{{Service: "pppoe", Records: int64(f.n - f.n/10), SetAside: int64(f.n / 10), Bytes: int64(f.n) * 300, Oldest: 8000}}
}

func (f *fakeSpools) WalkSpools(q admin.SpoolQuery, each func(admin.SpoolName, *admin.SpoolRecord) bool) error {
	if q.Service != "" && q.Service != "pppoe" {
		return fmt.Errorf("%w: there is no RADIUS service %q with a spool", admin.ErrNotFound, q.Service)
	}
	for n := q.After.Number + 1; n <= f.n; n++ {
		name := admin.SpoolName{Service: "pppoe", Number: n}
		r := &admin.SpoolRecord{
			Record: name.String(), Service: "pppoe", Session: fmt.Sprintf("session-%d", n), NAS: "10.1.0.1", User: fmt.Sprintf("user-%d@example.net", n%3),
			Type: "Interim-Update", Pool: "radius-pppoe", Stored: admin.Instant{Time: moment}, Age: 7980, Tries: int(n % 4), State: admin.SpoolWaiting, Bytes: 240,
		}
		switch {
		case n%10 == 0:
			r.State = admin.SpoolSetAside
		case n == 2:
			r.State, r.NAS, r.User = admin.SpoolDelivering, "2001:db8:1234:5678:9abc:def0:1234:5678", strings.Repeat("wide-コンソール-", 8)+"\x1b[31m"
		case n == f.rotten:
			*r = admin.SpoolRecord{Record: r.Record, Service: "pppoe", State: admin.SpoolWaiting, Damaged: true}
		}
		if q.Attributes && !r.Damaged {
			r.Attributes = []admin.SpoolAttribute{
				{Name: "User-Name", Value: fmt.Sprintf("%q", r.User)}, {Name: "Attr-26.4874.1", Value: "0x64656661756c74"}, {Name: "User-Password", Secret: true},
			}
		}
		fits := (q.User == "" || q.User == r.User) && (!q.Aside || r.State == admin.SpoolSetAside)
		if fits && !each(name, r) || !fits && !each(name, nil) {
			return nil
		}
	}
	return nil
}

// fakeFiles is the spool in the directory "good" or "damaged".
type fakeFiles struct{ fakeSpools }

func (*fakeFiles) Close() error { return nil }

func openFake(dir string) (SpoolFiles, []string, bool, error) {
	files := &fakeFiles{fakeSpools{n: 25}}
	switch dir {
	case "good":
		return files, []string{"seg-1.log ends in 9 bytes of a write that never ended"}, true, nil
	case "damaged":
		return files, []string{"seg-1.log: bytes 4 to 90 are damaged"}, false, nil
	}
	return nil, nil, false, errors.New("reading the spool " + dir + ": no such directory")
}

func (n *fakeNode) RetrySpooled(_ context.Context, q admin.SpoolQuery) (admin.SpoolChanged, error) {
	return admin.SpoolChanged{Records: 2}, n.note("retry %+v", q)
}

func (n *fakeNode) DropSpooled(_ context.Context, q admin.SpoolQuery) (admin.SpoolChanged, error) {
	return admin.SpoolChanged{Records: 1, Busy: 1}, n.note("drop %+v", q)
}
