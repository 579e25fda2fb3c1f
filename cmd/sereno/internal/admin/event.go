package admin

// Kinds of events.
const (
	EventNode     = "node"
	EventService  = "service"
	EventRole     = "role"
	EventBackend  = "backend"
	EventAnycast  = "anycast"
	EventNeighbor = "neighbor"
	EventDrain    = "drain"
	EventAlarm    = "alarm"
	EventReload   = "reload"
)

// Event is one change, as /api/v1/events tells it. From and To are states (of a drain:
// "" and drained; of an alarm: "" and "raised"; of a reload: "" and "applied" or
// "refused").
type Event struct {
	At     Instant `json:"at"`
	Kind   string  `json:"kind"`
	Name   string  `json:"name"` // "resolver", "resolvers/fulmine (dns)", "pool/resolvers/fulmine", …
	From   string  `json:"from"`
	To     string  `json:"to"`
	Reason string  `json:"reason"` // one word, as in Status
	Detail string  `json:"detail"` // in words; may be empty
}
