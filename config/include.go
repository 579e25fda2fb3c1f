package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// include merges the files that `include` names into the tree, in lexical order.
func (l *loader) include(root *node, name string) *node {
	list := root.get("include")
	if list == nil || list.kind != sequence {
		return root
	}
	seen := []string{filepath.Clean(name)}
	for i, item := range list.items {
		path := fmt.Sprintf("include[%d]", i)
		if item.kind != scalar {
			continue // the decoder says so
		}
		found, err := l.glob(resolve(name, item.text))
		if err != nil {
			l.decoder.report(item.pos, path, fmt.Sprintf("not a pattern: %q", item.text))
			continue
		}
		if len(found) == 0 && !strings.ContainsAny(item.text, `*?[\`) {
			l.decoder.report(item.pos, path, fmt.Sprintf("there is no file %q; a glob (conf.d/*.yaml) may match none", item.text))
			continue
		}
		if len(found) == 0 {
			l.report.Warnings = append(l.report.Warnings, Problem{item.pos, path, fmt.Sprintf("no file matches %q", item.text), true})
		}
		slices.Sort(found)
		for _, file := range found {
			if slices.Contains(seen, file) {
				continue
			}
			if len(seen) > maxIncluded { // the file that includes them is one of them
				l.decoder.report(item.pos, path, fmt.Sprintf("more than %d files", maxIncluded))
				return root
			}
			seen = append(seen, file)
			root = l.includeFile(root, file, item.pos, path)
		}
	}
	return root
}

func (l *loader) includeFile(root *node, file string, pos Position, path string) *node {
	data, err := l.read(file)
	if err != nil {
		l.decoder.report(pos, path, fmt.Sprintf("cannot read %s: %s", file, reason(err)))
		return root
	}
	more := l.tree(file, data)
	switch {
	case more == nil:
		return root
	case more.kind != mapping:
		l.decoder.report(more.pos, "", fmt.Sprintf("must be a section (KEY: VALUE), not %s", more.what()))
		return root
	}
	own := *more
	own.entries = slices.DeleteFunc(slices.Clone(more.entries), func(e entry) bool {
		if e.key == "include" {
			l.decoder.report(e.pos, e.key, "an included file cannot include others")
		}
		return e.key == "include"
	})
	return l.merge(root, &own, "")
}

// merge returns a with b added: sections key by key, lists whose items have a
// `name` by it, other lists one after the other. Neither a nor b is changed.
func (l *loader) merge(a, b *node, path string) *node {
	switch {
	case a.kind == null:
		return b
	case b.kind == null:
		return a
	case a.kind == mapping && b.kind == mapping:
		return l.mergeSections(a, b, path)
	case a.kind == sequence && b.kind == sequence:
		return l.mergeLists(a, b, path)
	}
	l.decoder.report(b.pos, path, fmt.Sprintf("set already at %s", a.pos))
	return a
}

func (l *loader) mergeSections(a, b *node, path string) *node {
	out := *a
	out.entries = slices.Clone(a.entries)
	index := make(map[string]int, len(out.entries))
	for i, e := range out.entries {
		index[e.key] = i
	}
	for _, e := range b.entries {
		i, ok := index[e.key]
		if !ok {
			index[e.key] = len(out.entries)
			out.entries = append(out.entries, e)
			continue
		}
		out.entries[i].value = l.merge(out.entries[i].value, e.value, join(path, showKey(e.key)))
	}
	return &out
}

func (l *loader) mergeLists(a, b *node, path string) *node {
	out := *a
	out.items = slices.Clone(a.items)
	index := map[string]int{}
	for i, item := range a.items {
		if name := item.get("name"); name != nil {
			if _, ok := index[name.text]; !ok {
				index[name.text] = i
			}
		}
	}
	for _, item := range b.items {
		name := item.get("name")
		if name == nil {
			out.items = append(out.items, item)
			continue
		}
		i, ok := index[name.text]
		if !ok {
			// Not noted in the index: the same name twice in one file is a mistake.
			out.items = append(out.items, item)
			continue
		}
		rest := *item
		rest.entries = slices.DeleteFunc(slices.Clone(item.entries), func(e entry) bool { return e.key == "name" })
		out.items[i] = l.merge(out.items[i], &rest, fmt.Sprintf("%s[%d]", path, i))
	}
	return &out
}

// resolve makes a path relative to the file that names it.
func resolve(file, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(file), path)
}
