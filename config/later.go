package config

// notYet is the table of keys whose feature this version does not have. Such a
// key is accepted at its default, and the feature is named in the line `not
// active in this version: …`. Any other value (or, if the row names values,
// any of those) is an error. A row is deleted when its feature works; nothing
// else refers to it.
var notYet = []missing{
	{key: "radius[].accounting.spool", feature: "radius spool"},
	{key: "radius[].accounting.spool_max", feature: "radius spool"},
	{key: "radius[].accounting.ack", feature: "radius spool"},
	{key: "radius[].accounting.coalesce_interim", feature: "radius spool"},
	{key: "radius[].survival", feature: "radius survival"},
	{key: "availability", feature: "availability"},
}
