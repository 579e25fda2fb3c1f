// Package cli is the part of the command line that talks to a running node or reads a
// configuration: status, drain, undrain, reload, check, version.
//
// What it promises: results on stdout, everything else on stderr; exit code 0 for done, 1
// for failed (also: no node answers), 2 for wrong usage or a wrong configuration; nothing
// that a configuration, a backend or a router wrote can move the terminal's cursor, colour
// it or run over its width.
package cli
