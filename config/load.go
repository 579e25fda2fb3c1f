package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
)

// Options change what Load looks at.
type Options struct {
	// NoFiles leaves the files alone that the configuration names (secrets,
	// certificates, lists of names). Included files are read: they are part of
	// the configuration.
	NoFiles bool
	// HostName is the default of node.name; "" asks the system.
	HostName string
}

// loader holds one load.
type loader struct {
	options Options
	report  *Report
	decoder *decoder
	read    func(path string) ([]byte, error)
	glob    func(pattern string) ([]string, error)
	hash    []byte
}

// Load reads and checks a configuration with everything it includes. It opens
// no socket and changes nothing. The Config is nil if there are errors; the
// Report is never nil.
func Load(path string, o Options) (*Config, *Report) {
	l := newLoader(o)
	data, err := l.read(path)
	if err != nil {
		l.report.files = []string{path}
		l.fail(Position{File: path, Line: 1, Column: 1}, "", "cannot read the configuration: "+reason(err))
		return nil, l.report
	}
	return l.load(path, data)
}

// Parse is Load for a text. name stands for the file in messages, and relative
// paths are relative to its directory.
func Parse(name string, data []byte, o Options) (*Config, *Report) {
	return newLoader(o).load(name, data)
}

func newLoader(o Options) *loader {
	l := &loader{options: o, report: &Report{}, read: readBounded, glob: filepath.Glob}
	l.decoder = newDecoder(l.fail)
	return l
}

// readBounded reads a file up to one byte above the bound, which the parser then refuses.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

func (l *loader) fail(pos Position, key, message string) {
	l.report.Errors = append(l.report.Errors, Problem{Position: pos, Key: key, Message: message})
}

func (l *loader) load(name string, data []byte) (*Config, *Report) {
	defer l.report.sort()
	root := l.tree(name, data)
	if root == nil || root.kind == null && !root.broken {
		if len(l.report.Errors) == 0 {
			l.fail(Position{File: name, Line: 1, Column: 1}, "", "the file is empty: nothing to run")
		}
		return nil, l.report
	}
	root = l.include(root, name)

	c := Default()
	c.Path = name
	l.decoder.decode(root, reflect.ValueOf(&c).Elem(), field{typ: reflect.TypeFor[Config]()}, place{})
	if root.kind != mapping {
		return nil, l.report
	}
	if l.decoder.visited > maxExpanded {
		l.fail(Position{File: name, Line: 1, Column: 1}, "", fmt.Sprintf("the aliases (*) stand for more than %d values", maxExpanded))
		return nil, l.report
	}
	if c.Node.Name == "" && !l.decoder.given("node.name") {
		c.Node.Name = l.hostName()
	}
	k := checker{config: &c, decoder: l.decoder, report: l.report, root: root.pos}
	k.check()
	l.files(&c, &k)
	k.warn()
	if len(l.report.Errors) > 0 {
		return nil, l.report
	}
	sum := sha256.Sum256(l.hash)
	c.Hash = hex.EncodeToString(sum[:8])
	return &c, l.report
}

// tree parses one file and notes it for the order of messages and the hash.
func (l *loader) tree(name string, data []byte) *node {
	l.report.files = append(l.report.files, name)
	sum := sha256.Sum256(data)
	l.hash = append(l.hash, sum[:]...)
	return parseTree(name, data, l.decoder.report)
}

func (l *loader) hostName() string {
	if l.options.HostName != "" {
		return l.options.HostName
	}
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// given tells whether the configuration has the key.
func (d *decoder) given(path string) bool {
	_, ok := d.values[path]
	return ok
}

// where is the best place for a message about a path: its value, else the
// nearest section around it.
func (d *decoder) where(path string, root Position) Position {
	for ; path != ""; path = parent(path) {
		if p, ok := d.values[path]; ok {
			return p
		}
		if p, ok := d.keys[path]; ok {
			return p
		}
	}
	return root
}

// known tells whether a path, or something it stands in, has an error already.
func (d *decoder) known(path string) bool {
	for p := path; p != ""; p = parent(p) {
		if d.bad[p] {
			return true
		}
	}
	return false
}

// reason is an error without the path that the message already names.
func reason(err error) string {
	type unwrapper interface{ Unwrap() error }
	if e, ok := err.(*os.PathError); ok {
		return e.Err.Error()
	}
	if u, ok := err.(unwrapper); ok && u.Unwrap() != nil {
		return u.Unwrap().Error()
	}
	return fmt.Sprint(err)
}
