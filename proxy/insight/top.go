package insight

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
)

const (
	topSets = 128
	topWays = 8
	// maxTopKey is the longest key that is kept, in bytes; longer ones are cut. A name of the DNS fits.
	maxTopKey = 255
	// topSample is how many requests of one batch are counted at most; each stands for as many as were passed over.
	topSample = 8
)

// Top counts who asks most, and for what, for as long as somebody looks: it is made when he begins and gone when he
// ends, since the packet path is better off when nothing is counted for nobody. It is a sketch of fixed size for each
// worker, so that workers share nothing; they are added up at the end.
//
// The sketch is Space-Saving (Metwally et al., 2005) in sets of eight: a key that finds its set full takes the place of
// the one counted least there and begins with its count, which is also how much it may be counted too high. So what is
// asked often is never missed, whatever flood of one-time keys comes with it, and each count has its error beside it.
type Top struct {
	kinds int
	seed  maphash.Seed

	mu      sync.Mutex
	tallies map[any]*Tally
}

// NewTop counts keys of so many kinds.
func NewTop(kinds int) *Top {
	return &Top{kinds: kinds, seed: maphash.MakeSeed(), tallies: map[any]*Tally{}}
}

// Tally is one worker's part of a Top. It belongs to the worker until the Top is read.
type Tally struct {
	seed     maphash.Seed
	Requests uint64 // seen, counted or passed over
	sketches []sketch
}

type sketch [topSets][topWays]topEntry

type topEntry struct {
	hash  uint64
	count uint64
	over  uint64 // count may be too high by this
	n     uint8
	key   [maxTopKey]byte
}

// Of is a worker's part; owner tells workers apart.
func (t *Top) Of(owner any) *Tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	y := t.tallies[owner]
	if y == nil {
		y = &Tally{seed: t.seed, sketches: make([]sketch, t.kinds)}
		t.tallies[owner] = y
	}
	return y
}

// Stride is the distance between two requests of a batch that are counted; it is also what each counts for.
func Stride(batch int) int { return (batch + topSample - 1) / topSample }

// Count counts a key weight times. It allocates nothing.
func (y *Tally) Count(kind int, key []byte, weight int) {
	key = key[:min(len(key), maxTopKey)]
	h := maphash.Bytes(y.seed, key)
	set := &y.sketches[kind][h%topSets]
	least := &set[0]
	for i := range set {
		e := &set[i]
		if e.hash == h && e.count > 0 && string(e.key[:e.n]) == string(key) {
			e.count += uint64(weight)
			return
		}
		if e.count < least.count {
			least = e
		}
	}
	least.over = least.count
	least.count += uint64(weight)
	least.hash, least.n = h, uint8(copy(least.key[:], key))
}

// Ranked is one key and how often it came.
type Ranked struct {
	Key   string
	Count uint64 // at most
	Over  uint64 // it may be too high by this
}

// Read adds the parts up: all requests that were seen, and for each kind at most n keys, those first that certainly
// came most. No worker may count any more.
func (t *Top) Read(n int) (requests uint64, lists [][]Ranked) {
	t.mu.Lock()
	defer t.mu.Unlock()
	lists = make([][]Ranked, t.kinds)
	for kind := range lists {
		sum := map[string]*Ranked{}
		for _, y := range t.tallies {
			y.sketches[kind].addTo(sum)
		}
		for _, r := range sum {
			lists[kind] = append(lists[kind], *r)
		}
		slices.SortFunc(lists[kind], func(a, b Ranked) int {
			return cmp.Or(cmp.Compare(b.Count-b.Over, a.Count-a.Over), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key))
		})
		lists[kind] = lists[kind][:min(n, len(lists[kind]))]
	}
	for _, y := range t.tallies {
		requests += y.Requests
	}
	return requests, lists
}

func (s *sketch) addTo(sum map[string]*Ranked) {
	for i := range s {
		for j := range s[i] {
			e := &s[i][j]
			if e.count == 0 {
				continue
			}
			r := sum[string(e.key[:e.n])]
			if r == nil {
				r = &Ranked{Key: string(e.key[:e.n])}
				sum[r.Key] = r
			}
			r.Count += e.count
			r.Over += e.over
		}
	}
}
