package admin

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

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
// "" and drained; of an alarm: "" and raised; of a reload: "" and applied or refused; and
// the other way round when it ends).
type Event struct {
	At     Instant `json:"at"`
	Kind   string  `json:"kind"`
	Name   string  `json:"name"` // "resolver", "resolvers/fulmine (dns)", "pool/resolvers/fulmine", …
	From   string  `json:"from"`
	To     string  `json:"to"`
	Reason string  `json:"reason"` // one word, as in Status
	Detail string  `json:"detail"` // in words; may be empty; what is above 2 KiB is cut off
}

const (
	keptEvents  = 256  // the last ones, for who comes later or comes back
	eventBuffer = 256  // that a subscriber may be behind
	maxDetail   = 2048 // bytes
)

// stamped is an event as it is sent.
type stamped struct {
	number uint64
	data   []byte // JSON; shared, never written to
}

// hub gives events to subscribers and keeps the last ones.
type hub struct {
	// run tells the numbers of this process from those of an earlier one, so that a client
	// that comes back after a restart is not taken for one that has seen our first events.
	run string

	mu     sync.Mutex
	last   uint64    // number of the newest event
	kept   []stamped // oldest first
	subs   map[*subscriber]struct{}
	most   int
	closed bool
}

// subscriber is one event stream. Its channel is closed when the hub closes, or when it is
// too far behind: it then comes back and asks for what it missed.
type subscriber struct{ events chan stamped }

func newHub(most int) *hub {
	run := make([]byte, 6)
	_, _ = rand.Read(run) // never fails (crypto/rand)
	return &hub{run: hex.EncodeToString(run), subs: map[*subscriber]struct{}{}, most: most}
}

// publish never blocks on a subscriber.
func (h *hub) publish(e Event) error {
	if len(e.Detail) > maxDetail {
		cut := maxDetail
		for cut > 0 && !utf8.RuneStart(e.Detail[cut]) {
			cut--
		}
		e.Detail = e.Detail[:cut] + "…"
	}
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.last++
	s := stamped{h.last, data}
	if len(h.kept) == keptEvents {
		copy(h.kept, h.kept[1:])
		h.kept = h.kept[:keptEvents-1]
	}
	h.kept = append(h.kept, s)
	for sub := range h.subs {
		select {
		case sub.events <- s:
		default:
			h.drop(sub)
		}
	}
	return nil
}

// subscribe adds a subscriber and returns the kept events that it has not seen: those after
// the one with the ID after, if that is one of ours, else the last few. It returns false if
// there are too many subscribers, or the hub is closed.
func (h *hub) subscribe(after string, few int) (sub *subscriber, missed []stamped, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.subs) >= h.most {
		return nil, nil, false
	}
	missed = h.kept[max(0, len(h.kept)-few):]
	if run, number, found := strings.Cut(after, "-"); found && run == h.run {
		if n, err := strconv.ParseUint(number, 10, 64); err == nil && n <= h.last {
			missed = h.kept[max(0, len(h.kept)-int(min(h.last-n, keptEvents))):] //nolint:gosec // at most keptEvents
		}
	}
	sub = &subscriber{events: make(chan stamped, eventBuffer)}
	h.subs[sub] = struct{}{}
	return sub, append([]stamped(nil), missed...), true
}

func (h *hub) unsubscribe(sub *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(sub)
}

// drop needs the lock.
func (h *hub) drop(sub *subscriber) {
	if _, ok := h.subs[sub]; ok {
		delete(h.subs, sub)
		close(sub.events)
	}
}

func (h *hub) subscribers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs)
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for sub := range h.subs {
		h.drop(sub)
	}
}

// id is the event's ID, which a client gives back as Last-Event-ID.
func (h *hub) id(s stamped) string { return h.run + "-" + strconv.FormatUint(s.number, 10) }
