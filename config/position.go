package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Position is a place in a configuration file. Lines and columns count from 1,
// columns in characters. A zero Line means the file as a whole.
type Position struct {
	File         string
	Line, Column int
}

// String writes the position as FILE:LINE:COLUMN.
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Problem is one error or warning of a configuration.
type Problem struct {
	Position
	Key     string // path with indices from 0, `pools[0].backends[1].address`; "" for the file as a whole
	Message string // what is wrong and, where it can be said, what to write instead; never holds a secret
	Warning bool
}

// String writes the line that `check` prints: FILE:LINE:COLUMN: error: KEY: message.
func (p Problem) String() string {
	kind := "error"
	if p.Warning {
		kind = "warning"
	}
	if p.Key == "" {
		return fmt.Sprintf("%s: %s: %s", p.Position, kind, p.Message)
	}
	return fmt.Sprintf("%s: %s: %s: %s", p.Position, kind, p.Key, p.Message)
}

// Report is what Load found. Both lists are in order of file and line.
type Report struct {
	Errors   []Problem
	Warnings []Problem

	files []string // in order of reading: the order of the problems
}

// Err is nil if there are no errors, else an *Error with all of them.
func (r *Report) Err() error {
	if len(r.Errors) == 0 {
		return nil
	}
	return &Error{Problems: r.Errors}
}

// Error is every error of a configuration.
type Error struct{ Problems []Problem }

// Error writes one line for each error.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems bounds what is told of one load; a file with more is not a
// configuration with mistakes but something else.
const maxProblems = 1000

// sort puts the problems in order of file and line. Equal ones are said once.
func (r *Report) sort() {
	rank := make(map[string]int, len(r.files))
	for i, f := range r.files {
		rank[f] = i
	}
	for _, list := range []*[]Problem{&r.Errors, &r.Warnings} {
		slices.SortStableFunc(*list, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(rank[a.File], rank[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		for i := range *list {
			(*list)[i].Message = shorten((*list)[i].Message)
		}
		*list = slices.Compact(*list)
		if more := len(*list) - maxProblems; more > 0 {
			last := (*list)[maxProblems]
			last.Key, last.Message = "", fmt.Sprintf("%d more from here on are not shown", more)
			*list = append((*list)[:maxProblems], last)
		}
	}
}

// maxMessage bounds one message in bytes: values that it quotes may be long.
const maxMessage = 400

// shorten takes the middle out of a message that is too long to be read.
func shorten(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	head, tail := maxMessage/2, len(message)-maxMessage/2
	for !utf8.RuneStart(message[head]) {
		head--
	}
	for !utf8.RuneStart(message[tail]) {
		tail++
	}
	return message[:head] + "…" + message[tail:]
}

// join appends a key of a section to the section's own path.
func join(path, key string) string {
	if path == "" || key == "" || strings.HasPrefix(key, "[") {
		return path + key
	}
	return path + "." + key
}

// parent is the path without its last key or index; "" has no parent.
func parent(path string) string {
	if strings.HasSuffix(path, "]") {
		return path[:strings.LastIndexByte(path, '[')]
	}
	if i := strings.LastIndexAny(path, ".]"); i >= 0 && path[i] == '.' {
		return path[:i]
	}
	return ""
}
