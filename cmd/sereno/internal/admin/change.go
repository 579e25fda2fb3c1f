package admin

import (
	"context"
	"fmt"
	"net/url"
	"time"
)

// Undrained is the answer of POST /api/v1/undrain.
type Undrained struct {
	Target string `json:"target"`
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
	return Undrained{target.String()}, s.node.Undrain(ctx, target)
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
