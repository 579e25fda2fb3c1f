package admin

import (
	"context"
	"fmt"
	"net/url"
	"time"
)

// Drained is the answer of POST /api/v1/drain.
type Drained struct {
	Target  string `json:"target"`
	Since   Time   `json:"since"`
	Until   Time   `json:"until"`   // zero: until it is undone
	Warning string `json:"warning"` // in force, but not on disk: what a restart would do; else empty
}

// Undrained is the answer of POST /api/v1/undrain.
type Undrained struct {
	Target  string `json:"target"`
	Warning string `json:"warning"` // as in Drained
}

func (s *Server) drain(ctx context.Context, arguments url.Values) (any, error) {
	target, err := ParseTarget(arguments.Get("target"))
	if err != nil {
		return nil, err
	}
	var d time.Duration
	if arguments.Has("for") {
		if d, err = ParseFor(arguments.Get("for")); err != nil {
			return nil, err
		}
	}
	force, err := flag(arguments, "force")
	if err != nil {
		return nil, err
	}
	return s.node.Drain(ctx, target, d, force)
}

func (s *Server) undrain(ctx context.Context, arguments url.Values) (any, error) {
	target, err := ParseTarget(arguments.Get("target"))
	if err != nil {
		return nil, err
	}
	return s.node.Undrain(ctx, target)
}

func (s *Server) reload(ctx context.Context, arguments url.Values) (any, error) {
	allowEmpty, err := flag(arguments, "allow_empty")
	if err != nil {
		return nil, err
	}
	return s.node.Reload(ctx, allowEmpty)
}

// flag reads an argument that is true or false; without it, false.
func flag(arguments url.Values, name string) (bool, error) {
	switch value := arguments.Get(name); {
	case !arguments.Has(name), value == "false":
		return false, nil
	case value == "true":
		return true, nil
	default:
		return false, fmt.Errorf("%w: %s is true or false, not %s", ErrBadArgument, name, quote(value))
	}
}
