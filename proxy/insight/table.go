package insight

// Table is how full something is that has a bound.
type Table struct {
	Name           string
	Entries, Limit int64
}

// The names of tables: the values of the metrics' label.
const (
	TableConnections = "connections"      // of clients over TCP, TLS and HTTPS
	TableQueued      = "queued-bytes"     // of answers that clients have not taken
	TableHandshakes  = "handshakes"       // of TLS, that are worked at
	TableHTTPS       = "https-requests"   // being answered
	TableInFlight    = "in-flight"        // what waits for a backend
	TableCache       = "cache-entries"    //
	TableBlocked     = "blocked-names"    // of all block lists
	TableRemembered  = "remembered"       // answers for duplicates
	TableHeld        = "held-bytes"       // of requests in flight and answers for duplicates
	TableSessions    = "sessions"         // that accounting told of, those of a NAS before its restart too
	TableNASNames    = "nas-names"        // what NASes call themselves
	TableSources     = "sources"          // addresses of which is known whether they sign
	TableKnownUsers  = "known-users"      // of survival
	TableUserBytes   = "known-user-bytes" // their attributes
	TableIdentifiers = "identifiers"      // towards all backends: in use, or resting
)
