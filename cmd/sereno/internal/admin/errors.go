package admin

import (
	"errors"
	"net/http"
	"strings"
)

// Errors of a Node. Wrap them with the sentence that the operator shall read.
var (
	// ErrBadArgument is an argument that can never be right: 400.
	ErrBadArgument = errors.New("bad argument")
	// ErrNotFound is a thing that does not exist: 404.
	ErrNotFound = errors.New("not found")

	// errBusy is a read that waited too long behind others: 503.
	errBusy = errors.New("too many requests at once")
)

// RefusedError is a change that the node could make and did not, because it would do
// harm or because the configuration is wrong: 409. Nothing was changed.
type RefusedError struct {
	Reason  string   // one sentence
	Details []string // what it consists of, for example the errors of the configuration; may be empty
}

// Refused is a RefusedError.
func Refused(reason string, details ...string) error {
	return &RefusedError{Reason: reason, Details: details}
}

// Error is the reason and, one on a line, the details.
func (e *RefusedError) Error() string {
	return strings.Join(append([]string{e.Reason}, e.Details...), "\n")
}

// ErrorBody is the body of every answer that is not 200.
type ErrorBody struct {
	Error   string       `json:"error"`             // all of it, in words
	Reason  string       `json:"reason,omitempty"`  // of a refusal, without the details
	Details List[string] `json:"details,omitempty"` // of a refusal
}

// codeOf is the HTTP status of a Node's error.
func codeOf(err error) int {
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		return http.StatusConflict
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrBadArgument):
		return http.StatusBadRequest
	case errors.Is(err, errBusy):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func bodyOf(err error) ErrorBody {
	body := ErrorBody{Error: err.Error()}
	var refused *RefusedError
	if errors.As(err, &refused) {
		body.Reason, body.Details = refused.Reason, refused.Details
	}
	return body
}
