package config

// notYet is the table of keys whose feature this version does not have. Such a
// key is accepted at its default, and the feature is named in the line `not
// active in this version: …`. Any other value (or, if the row names values,
// any of those) is an error. A row is deleted when its feature works; nothing
// else refers to it.
var notYet = []missing{
	{key: "radius[].survival", feature: "radius survival"},
}
