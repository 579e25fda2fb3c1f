// Package servers has the configurations of the real servers that tests put
// behind a node: Unbound and FreeRADIUS, in the foreground, with nothing of the
// machine's own and no network. They know what package stub's names ask for.
// Nothing here starts anything.
package servers
