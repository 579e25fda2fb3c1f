package admin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// SpoolReader is the accounting on disk, of a running node or of a directory. All methods
// are called from several goroutines at once.
type SpoolReader interface {
	// SpoolTotals are the figures of each spool.
	SpoolTotals() []SpoolTotals
	// WalkSpools calls each for every record behind q.After, in the order of services and
	// numbers, until each returns false: with nil for one that q does not name. Memory is
	// bounded. ErrNotFound: there is no such spool.
	WalkSpools(q SpoolQuery, each func(at SpoolName, r *SpoolRecord) bool) error
}

// Spools is the accounting on disk of a running node.
type Spools interface {
	SpoolReader
	// RetrySpooled puts records that are set aside back into their sessions, DropSpooled
	// deletes records without delivering them, those that are being delivered at this moment
	// excepted. With an error the answer says how many it were until then.
	// Errors: ErrNotFound, RefusedError.
	RetrySpooled(ctx context.Context, q SpoolQuery) (SpoolChanged, error)
	DropSpooled(ctx context.Context, q SpoolQuery) (SpoolChanged, error)
}

// SpoolQuery names records: those for which everything that is set fits.
type SpoolQuery struct {
	Service string
	Record  SpoolName // this one alone
	Session string    // Acct-Session-Id
	User    string    // User-Name
	NAS     netip.Addr
	Aside   bool // those that are set aside
	After   SpoolName
	// Attributes: the records have them.
	Attributes bool
}

// narrow tells whether q names less than all records of a service.
func (q SpoolQuery) narrow() bool {
	return q.Record != (SpoolName{}) || q.Session != "" || q.User != "" || q.NAS.IsValid() || q.Aside
}

// SpoolName names one record of a node. Numbers are never used again.
type SpoolName struct {
	Service string
	Number  uint64
}

// String is SERVICE/NUMBER.
func (n SpoolName) String() string { return n.Service + "/" + strconv.FormatUint(n.Number, 10) }

// ParseSpoolName reads what String writes. Its error is an ErrBadArgument.
func ParseSpoolName(s string) (SpoolName, error) {
	if at := strings.LastIndexByte(s, '/'); at > 0 {
		if n, err := strconv.ParseUint(s[at+1:], 10, 64); err == nil {
			return SpoolName{Service: s[:at], Number: n}, nil
		}
	}
	return SpoolName{}, fmt.Errorf("%w: not a record: %s: write SERVICE/NUMBER", ErrBadArgument, quote(s))
}

// States of a record in the spool.
const (
	SpoolWaiting    = "waiting"
	SpoolDelivering = "in-delivery"
	SpoolSetAside   = "set-aside"
)

// SpoolRecord is one accounting record on disk.
type SpoolRecord struct {
	Record  string  `json:"record"` // SERVICE/NUMBER
	Service string  `json:"service"`
	Session string  `json:"session"` // Acct-Session-Id
	NAS     string  `json:"nas"`     // its address
	User    string  `json:"user"`    // User-Name
	Type    string  `json:"type"`    // Acct-Status-Type
	Pool    string  `json:"pool"`    // that it goes to
	Stored  Instant `json:"stored"`
	Age     Seconds `json:"age_seconds"`
	Tries   int     `json:"tries"` // rounds in which no backend acknowledged it, since the node's start
	State   string  `json:"state"` // waiting, in-delivery, set-aside
	Bytes   int     `json:"bytes"`
	Damaged bool    `json:"damaged"` // it cannot be read: all above that comes from the packet is empty
	// Attributes are the packet's as the NAS sent it; left out of lists.
	Attributes List[SpoolAttribute] `json:"attributes,omitempty"`
}

// SpoolAttribute is one attribute as FreeRADIUS's detail files have it: text in quotes,
// octets as 0x and hexadecimal digits.
type SpoolAttribute struct {
	Name   string `json:"name"`
	Value  string `json:"value"`  // empty if it is secret
	Secret bool   `json:"secret"` // a password, a response computed from one, or a key
}

// SpoolTotals are the figures of one spool.
type SpoolTotals struct {
	Service  string  `json:"service"`
	Records  int64   `json:"records"`   // to be delivered
	SetAside int64   `json:"set_aside"` // beside these
	Bytes    int64   `json:"bytes"`
	Oldest   Seconds `json:"oldest_seconds"`
}

// SpoolPage is the answer of GET /api/v1/spool.
type SpoolPage struct {
	Spools  List[SpoolTotals] `json:"spools"`
	Records List[SpoolRecord] `json:"records"`
	// Next is what to ask for with `after` to go on, empty at the end. A page may be short,
	// even empty, and not the last.
	Next string `json:"next"`
}

// SpoolChanged is the answer of a retry or a drop.
type SpoolChanged struct {
	Records int `json:"records"`     // that were put back or deleted
	Busy    int `json:"in_delivery"` // that were left, because they are being delivered at this moment
}

const (
	spoolPage = 100 // records on a page unless told otherwise
	// MaxSpoolPage is how many records a page has at most.
	MaxSpoolPage = 1000
	maxSpoolPass = 100_000 // that are looked at for one page
)

// ListSpools is the page of at most limit records that q names.
func ListSpools(from SpoolReader, q SpoolQuery, limit int) (SpoolPage, error) {
	page := SpoolPage{Spools: from.SpoolTotals()}
	passed, last := 0, SpoolName{}
	err := from.WalkSpools(q, func(at SpoolName, r *SpoolRecord) bool {
		if len(page.Records) == limit || passed == maxSpoolPass {
			page.Next = last.String()
			return false
		}
		passed, last = passed+1, at
		if r != nil {
			page.Records = append(page.Records, *r)
		}
		return true
	})
	return page, err
}

// ReadSpooled is one record with its attributes. ErrNotFound.
func ReadSpooled(from SpoolReader, name SpoolName) (SpoolRecord, error) {
	gone := fmt.Errorf("%w: there is no record %s; it may be delivered by now", ErrNotFound, quote(name.String()))
	if name.Number == 0 {
		return SpoolRecord{}, gone
	}
	var found *SpoolRecord
	q := SpoolQuery{Service: name.Service, After: SpoolName{name.Service, name.Number - 1}, Attributes: true}
	err := from.WalkSpools(q, func(at SpoolName, r *SpoolRecord) bool {
		if at == name {
			found = r
		}
		return false
	})
	if err == nil && found == nil {
		err = gone
	}
	if err != nil {
		return SpoolRecord{}, err
	}
	return *found, nil
}

func (s *Server) spool(_ context.Context, arguments url.Values) (any, error) {
	q, err := spoolQuery(arguments)
	if err != nil {
		return nil, err
	}
	limit := spoolPage
	if arguments.Has("limit") {
		if limit, err = strconv.Atoi(arguments.Get("limit")); err != nil || limit < 1 || limit > MaxSpoolPage {
			return nil, fmt.Errorf("%w: limit is a number from 1 to %d, not %s", ErrBadArgument, MaxSpoolPage, quote(arguments.Get("limit")))
		}
	}
	return ListSpools(s.node, q, limit)
}

func (s *Server) spoolRecord(_ context.Context, arguments url.Values) (any, error) {
	name, err := ParseSpoolName(arguments.Get("record"))
	if err != nil {
		return nil, err
	}
	return ReadSpooled(s.node, name)
}

func (s *Server) spoolRetry(ctx context.Context, arguments url.Values) (any, error) {
	return spoolChange(ctx, arguments, s.node.RetrySpooled)
}

func (s *Server) spoolDrop(ctx context.Context, arguments url.Values) (any, error) {
	return spoolChange(ctx, arguments, s.node.DropSpooled)
}

// spoolChange demands that what is changed is named: nothing is dropped by leaving
// something out.
func spoolChange(ctx context.Context, arguments url.Values, change func(context.Context, SpoolQuery) (SpoolChanged, error)) (any, error) {
	q, err := spoolQuery(arguments)
	if err != nil {
		return nil, err
	}
	all, err := flag(arguments, "all")
	switch {
	case err != nil:
		return nil, err
	case !all && !q.narrow():
		return nil, fmt.Errorf("%w: which records? Name one, or some by session, user, nas or set_aside, or write all=true", ErrBadArgument)
	case all && q.narrow():
		return nil, fmt.Errorf("%w: all, or those that fit: not both", ErrBadArgument)
	}
	changed, err := change(ctx, q)
	if err != nil && changed.Records > 0 {
		err = fmt.Errorf("%w (after %d records)", err, changed.Records)
	}
	return changed, err
}

// spoolQuery reads what names records.
func spoolQuery(arguments url.Values) (q SpoolQuery, err error) {
	q = SpoolQuery{Service: arguments.Get("service"), Session: arguments.Get("session"), User: arguments.Get("user")}
	var aside, one, after error
	q.NAS, err = address(arguments, "nas")
	q.Aside, aside = flag(arguments, "set_aside")
	if arguments.Has("record") {
		q.Record, one = ParseSpoolName(arguments.Get("record"))
	}
	if arguments.Has("after") {
		q.After, after = ParseSpoolName(arguments.Get("after"))
	}
	return q, errors.Join(err, aside, one, after)
}
