package app

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"go.uber.org/zap"

	"sereno/cmd/sereno/internal/admin"
	"sereno/proxy/radiusfront"
	"sereno/proxy/radiusfront/spool"
)

// walkable is a spool that is open, or its files.
type walkable interface {
	Walk(after uint64, aside bool, each func(spool.Info, []byte, error) bool) error
	Stats() spool.Stats
}

// namedSpool is the spool of one service.
type namedSpool struct {
	service string
	spool   walkable
}

// spools are those of all services, in the configuration's order.
func (n *Node) spools() spoolShelf {
	var out spoolShelf
	for _, f := range n.shape.Load().fronts {
		if s, ok := f.(*radiusService); ok {
			if sp := s.Spool(); sp != nil {
				out = append(out, namedSpool{s.name(), sp})
			}
		}
	}
	return out
}

// SpoolTotals are the figures of each spool (R45).
func (n *Node) SpoolTotals() []admin.SpoolTotals { return n.spools().SpoolTotals() }

// WalkSpools shows records (R45).
func (n *Node) WalkSpools(q admin.SpoolQuery, each func(admin.SpoolName, *admin.SpoolRecord) bool) error {
	return n.spools().WalkSpools(q, each)
}

// RetrySpooled puts records that are set aside back (R45).
func (n *Node) RetrySpooled(ctx context.Context, q admin.SpoolQuery) (admin.SpoolChanged, error) {
	q.Aside = q.Record == (admin.SpoolName{}) // of one that is not set aside that is said
	return n.changeSpools(ctx, q, "put back into their sessions", (*spool.Spool).Retry)
}

// DropSpooled deletes records (R45).
func (n *Node) DropSpooled(ctx context.Context, q admin.SpoolQuery) (admin.SpoolChanged, error) {
	return n.changeSpools(ctx, q, "dropped", (*spool.Spool).Drop)
}

// changeSpools changes the records that q names one by one, and logs how many
// they were.
func (n *Node) changeSpools(ctx context.Context, q admin.SpoolQuery, what string, change func(*spool.Spool, spool.Ref) error) (admin.SpoolChanged, error) {
	var done admin.SpoolChanged
	shelf := n.spools()
	if one := q.Record; one != (admin.SpoolName{}) {
		q.Service = one.Service
	}
	var refused error
	found := 0
	err := shelf.walk(q, func(s namedSpool, in spool.Info, r *admin.SpoolRecord) bool {
		if r == nil {
			return ctx.Err() == nil
		}
		found++
		switch err := change(s.spool.(*spool.Spool), in.Ref()); {
		case err == nil:
			done.Records++
		case errors.Is(err, spool.ErrDelivering):
			done.Busy++
			refused = err
		default:
			refused = err // not set aside, or over meanwhile
		}
		return ctx.Err() == nil
	})
	if done.Records > 0 {
		n.log.Warn("spooled accounting was "+what+" by an operator", zap.Int("records", done.Records), zap.String("service", q.Service),
			zap.String("session", q.Session), zap.String("user", q.User), zap.Bool("set_aside_only", q.Aside))
	}
	switch one := q.Record != (admin.SpoolName{}); {
	case err != nil:
		return done, err
	case ctx.Err() != nil:
		return done, ctx.Err()
	case one && found == 0:
		return done, fmt.Errorf("%w: there is no record %q; it may be delivered by now", admin.ErrNotFound, q.Record.String())
	case one && refused != nil:
		return done, admin.Refused(fmt.Sprintf("record %s: %v", q.Record, refused))
	}
	return done, nil
}

// spoolShelf is the spools of a node or of a directory.
type spoolShelf []namedSpool

// SpoolTotals are the figures of each spool.
func (shelf spoolShelf) SpoolTotals() []admin.SpoolTotals {
	out := make([]admin.SpoolTotals, 0, len(shelf))
	for _, s := range shelf {
		st := s.spool.Stats()
		out = append(out, admin.SpoolTotals{
			Service: s.service, Records: st.Records, SetAside: st.Aside, Bytes: st.Bytes, Oldest: admin.SecondsOf(st.Oldest),
		})
	}
	return out
}

// WalkSpools shows records.
func (shelf spoolShelf) WalkSpools(q admin.SpoolQuery, each func(admin.SpoolName, *admin.SpoolRecord) bool) error {
	return shelf.walk(q, func(s namedSpool, in spool.Info, r *admin.SpoolRecord) bool {
		return each(admin.SpoolName{Service: s.service, Number: in.ID}, r)
	})
}

// walk calls each with every record behind q.After, with nil where q does not
// name it.
func (shelf spoolShelf) walk(q admin.SpoolQuery, each func(namedSpool, spool.Info, *admin.SpoolRecord) bool) error {
	for _, service := range []string{q.Service, q.After.Service} {
		if service != "" && !shelf.has(service) {
			return fmt.Errorf("%w: there is no RADIUS service %q with a spool", admin.ErrNotFound, service)
		}
	}
	going, begun := true, q.After.Service == ""
	for _, s := range shelf {
		after := uint64(0)
		if s.service == q.After.Service {
			begun, after = true, q.After.Number
		}
		if !begun || q.Service != "" && s.service != q.Service {
			continue
		}
		if q.Record != (admin.SpoolName{}) {
			if q.Record.Number == 0 {
				continue
			}
			after = max(after, q.Record.Number-1)
		}
		err := s.spool.Walk(after, q.Aside, func(in spool.Info, data []byte, damage error) bool {
			if q.Record != (admin.SpoolName{}) && in.ID != q.Record.Number {
				return false
			}
			going = each(s, in, recordOf(s.service, q, in, data, damage))
			return going
		})
		if err != nil {
			return fmt.Errorf("reading the spool of %s: %w", s.service, err)
		}
		if !going {
			return nil
		}
	}
	return nil
}

func (shelf spoolShelf) has(service string) bool {
	for _, s := range shelf {
		if s.service == service {
			return true
		}
	}
	return false
}

// recordOf is a record as the API shows it; nil if q does not name it. One that
// cannot be read has nothing that a filter could fit.
func recordOf(service string, q admin.SpoolQuery, in spool.Info, data []byte, damage error) *admin.SpoolRecord {
	out := &admin.SpoolRecord{
		Record: admin.SpoolName{Service: service, Number: in.ID}.String(), Service: service,
		Stored: admin.Instant{Time: in.Stored}, Age: admin.SecondsOf(in.Waited), Tries: in.Tries, State: admin.SpoolWaiting, Bytes: in.Size,
	}
	switch {
	case in.Aside:
		out.State = admin.SpoolSetAside
	case in.Delivering:
		out.State = admin.SpoolDelivering
	}
	var r radiusfront.SpooledRecord
	if damage == nil {
		r, damage = radiusfront.ReadSpooled(data)
	}
	if damage != nil {
		if q.Session != "" || q.User != "" || q.NAS.IsValid() {
			return nil
		}
		out.Damaged = true
		return out
	}
	if q.Session != "" && q.Session != r.Session || q.User != "" && q.User != r.User || q.NAS.IsValid() && q.NAS != r.NAS {
		return nil
	}
	out.Session, out.NAS, out.User, out.Type, out.Pool = r.Session, r.NAS.String(), r.User, r.Type, r.Pool
	if q.Attributes {
		for _, a := range r.Attributes() {
			out.Attributes = append(out.Attributes, admin.SpoolAttribute{Name: a.Name, Value: a.Value, Secret: a.Secret})
		}
	}
	return out
}

// SpoolDirectory is the spool of a stopped node, or a copy of one, for reading.
type SpoolDirectory struct {
	spoolShelf
	files *spool.Files
}

// OpenSpoolDirectory reads the directory of one service's spool. It changes
// nothing in it. Notes say in words what is damaged and up to when deliveries are
// noted; sound is false when a record may be missing.
func OpenSpoolDirectory(dir string) (d *SpoolDirectory, notes []string, sound bool, err error) {
	files, err := spool.Read(dir)
	if errors.Is(err, spool.ErrRunning) {
		return nil, nil, false, fmt.Errorf("%w: leave --dir out to ask the node", err)
	}
	if err != nil {
		return nil, nil, false, err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	service, err := url.PathUnescape(filepath.Base(abs))
	if err != nil {
		service = filepath.Base(abs)
	}
	sound = true
	for _, x := range files.Damage {
		note := fmt.Sprintf("%s: bytes %d to %d are damaged: a record may be missing", x.File, x.From, x.To)
		if x.Tail {
			note = fmt.Sprintf("%s ends in %d bytes of a write that never ended; it was never acknowledged", x.File, x.To-x.From)
		}
		notes, sound = append(notes, note), sound && x.Tail
	}
	if !files.Noted.IsZero() {
		notes = append(notes, "what a server acknowledged after "+files.Noted.UTC().Format("2006-01-02 15:04:05.000 UTC")+", if anything, is still among these records")
	}
	return &SpoolDirectory{spoolShelf{{service, files}}, files}, notes, sound, nil
}

// Close closes the files.
func (d *SpoolDirectory) Close() error { return d.files.Close() }
