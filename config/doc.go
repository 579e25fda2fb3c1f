// Package config reads the YAML configuration of a node.
//
// It composes the sections that their packages own: they declare the keys as
// tagged structs with SetDefaults and Validate; this package finds the places
// in the text, fills the structs, and checks what needs more than one section.
// A key's tag says all that is known of it here: `yaml:"name"`, `yaml:",inline"`
// for keys that stand beside those of the struct around it, `yaml:"name,scalar"`
// for a list that may be written as one value, `secret:"true"` for what is never
// printed, `file:"true"` for the name of a file that must be readable.
//
// What it promises: a text that cannot be misread (unknown and duplicate keys,
// wrong types and references to nothing are errors); all errors at once, in
// order of file and line, each with its place and key; no secret in a message,
// a difference or a printed Config; bounded work for any input.
//
// The file reference.yaml lists every key with its default.
package config
