package lab

import "math/rand/v2"

// allowance is what clients may notice of an event. Nothing may ever be lost for good, or be answered wrongly.
type allowance uint8

const (
	nothing  allowance = iota // every first try is answered, by a backend, the cache or another site
	moves                     // TCP connections may end, because their address moved to another node
	failures                  // a query may be answered with SERVFAIL: whoever asks again asked for that reason
	packets                   // what was on its way may be lost
)

func (a allowance) String() string {
	return [...]string{"nothing", "the end of TCP connections", "SERVFAIL", "the loss of packets"}[a]
}

// bears says whether that many requests may have been sent again, and answered with SERVFAIL.
func (a allowance) bears(stream bool, again, failed uint64) bool {
	switch {
	case a == packets, stream && a == failures:
		return true
	case a == failures:
		return again <= failed
	case a == moves && stream:
		return failed == 0
	}
	return again == 0 && failed == 0
}

// event is something that can happen, at a site.
type event struct {
	name        string
	weight      int
	dns, radius allowance
	play        func(s *soak, site int) (what string, err error)
}

// mildEvents may also happen while something else is broken: nobody may notice any of them.
var mildEvents = []event{
	{"reload", 2, nothing, nothing, (*soak).reload},
	{"broken-reload", 2, nothing, nothing, (*soak).brokenReload},
	{"clock-step", 2, nothing, nothing, (*soak).stepClock},
	{"flush", 1, nothing, nothing, (*soak).flush},
}

var events = append([]event{
	{"backend-killed", 3, nothing, nothing, (*soak).killBackend},
	{"backend-frozen", 3, nothing, nothing, (*soak).freezeBackend},
	{"backend-cut", 3, nothing, nothing, (*soak).cutBackend},
	{"backend-drained", 2, nothing, nothing, (*soak).drainBackend},
	{"resolvers-dead", 2, failures, nothing, (*soak).killResolvers},
	{"servers-dead", 2, nothing, packets, (*soak).killServers},
	{"site-cut-from-backends", 2, failures, packets, (*soak).cutBackends},
	{"every-resolver-dead", 2, failures, nothing, (*soak).everyResolverDead},
	{"every-server-dead", 3, nothing, packets, (*soak).everyServerDead},
	{"every-server-dead-node-killed", 3, packets, packets, (*soak).everyServerDeadNodeKilled},
	{"every-server-dead-disk-full", 3, nothing, packets, (*soak).everyServerDeadDiskFull},
	{"disk-full", 2, nothing, nothing, (*soak).fillDisk},
	{"node-killed", 3, packets, packets, (*soak).killNode},
	{"node-stopped", 2, moves, nothing, (*soak).stopNode},
	{"node-frozen", 3, packets, packets, (*soak).freezeNode},
	{"speakers-killed", 2, moves, nothing, (*soak).killSpeakers},
	{"link-cut", 2, packets, packets, (*soak).cutLink},
	{"link-silent", 2, packets, packets, (*soak).silenceLink},
	{"site-cut", 2, packets, packets, (*soak).cutSite},
	{"service-drained", 2, moves, nothing, (*soak).drainService},
	{"node-drained", 2, moves, nothing, (*soak).drainNode},
	{"site-preferred", 2, moves, nothing, (*soak).preferOther},
}, mildEvents...)

// deck gives events in random order, each as often as its weight says before it begins anew: what is long enough has had
// all of them.
type deck struct {
	events []event
	rng    *rand.Rand
	order  []int // of what is still in it
}

func (d *deck) draw() event {
	if len(d.order) == 0 {
		for i, e := range d.events {
			for range e.weight {
				d.order = append(d.order, i)
			}
		}
		d.rng.Shuffle(len(d.order), func(i, j int) { d.order[i], d.order[j] = d.order[j], d.order[i] })
	}
	e := d.events[d.order[0]]
	d.order = d.order[1:]
	return e
}
