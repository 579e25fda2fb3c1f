// Package spoil makes wrong configurations out of a good one, for tests: each
// key in every way in which a person or a program gets it wrong, one mistake in
// each text, with the place where a reader should find it.
//
// It knows YAML and nothing of what the keys mean: whether a text is wrong
// indeed is for its user to say.
package spoil
