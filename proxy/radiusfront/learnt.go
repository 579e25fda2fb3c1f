package radiusfront

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sereno/proxy/insight"
	"sereno/proxy/radwire"
)

const (
	// maxSources bounds the addresses of which something is remembered.
	maxSources = 65536
	// saveInterval is how often what was learnt goes to disk when it changed.
	saveInterval = 10 * time.Second
	// maxLearntFile bounds the file that is read: maxSources lines and some.
	maxLearntFile = 32 << 20
)

// source is what one address has shown of its Message-Authenticators (R13).
type source struct {
	signs        atomic.Bool // sent a valid one in an Access-Request without EAP-Message: from then on it must
	proxy        bool        // its first Access-Request had Proxy-State
	unsigned     atomic.Uint64
	lastUnsigned atomic.Int64 // Unix seconds
}

// backendKey names a backend in one role.
type backendKey struct{ pool, backend, role string }

// learnt is what is known of the sources of requests and of backends, for all
// workers, kept over restarts.
type learnt struct {
	saving  sync.Mutex // guards path; held while it is written
	path    string     // "": memory only
	logger  *zap.Logger
	repeats *insight.Repeats
	epoch   atomic.Uint64 // changes when something is forgotten: workers drop what they hold
	dirty   atomic.Bool

	mu       sync.Mutex
	sources  map[netip.Addr]*source
	backends map[backendKey]*atomic.Bool
}

func newLearnt(dir, service string, logger *zap.Logger, repeats *insight.Repeats) *learnt {
	l := &learnt{logger: logger, repeats: repeats, sources: map[netip.Addr]*source{}, backends: map[backendKey]*atomic.Bool{}}
	if dir != "" {
		l.path = learntPath(dir, service)
	}
	return l
}

func learntPath(dir, service string) string {
	return filepath.Join(dir, "radius-learnt-"+url.PathEscape(service)+".json")
}

// moveTo keeps it in another file from now on.
func (l *learnt) moveTo(path string) error {
	l.saving.Lock()
	defer l.saving.Unlock()
	was := l.path
	l.path = path
	if err := os.Rename(was, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// source finds or makes what is known of an address whose request has a
// Proxy-State or not. When there is no room, one that does not sign makes it;
// when all sign, nothing is remembered of the newcomer.
func (l *learnt) source(a netip.Addr, proxy bool) *source {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sources[a]; s != nil {
		return s
	}
	s := &source{proxy: proxy}
	if len(l.sources) >= maxSources && !l.evict() {
		return s
	}
	l.sources[a] = s
	l.dirty.Store(true)
	return s
}

// known is of how many addresses something is remembered.
func (l *learnt) known() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.sources))
}

// evictTries bounds the search for a source to forget.
const evictTries = 64

func (l *learnt) evict() bool {
	tries := 0
	for a, s := range l.sources {
		if !s.signs.Load() {
			delete(l.sources, a)
			l.epoch.Add(1)
			return true
		}
		if tries++; tries == evictTries {
			break
		}
	}
	return false
}

// backend finds or makes the mark of a backend: it has sent a valid
// Message-Authenticator in a reply without EAP-Message.
func (l *learnt) backend(k backendKey) *atomic.Bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.backends[k] == nil {
		l.backends[k] = &atomic.Bool{}
	}
	return l.backends[k]
}

// sets notes that a mark was set for the first time.
func (l *learnt) set(mark *atomic.Bool) {
	if !mark.Load() {
		mark.Store(true)
		l.dirty.Store(true)
	}
}

// source is what is known of the address of the request at hand, held in the
// worker so that the shared table is asked once.
func (w *worker) source(a netip.Addr) *source {
	l := w.service.learnt
	if e := l.epoch.Load(); e != w.sourcesEpoch {
		w.sourcesEpoch = e
		clear(w.sources)
	}
	s := w.sources[a]
	if s == nil {
		s = l.source(a, w.ix.ProxyStates > 0)
		if len(w.sources) >= maxSources {
			clear(w.sources)
		}
		w.sources[a] = s
	}
	return s
}

// judge decides over an Access-Request by its client's posture (R13), and
// learns from it.
func (w *worker) judge(cl *client, a netip.Addr, signed bool) Reason {
	src := w.source(a)
	if signed {
		if !w.ix.Has(radwire.AttrEAPMessage) { // with EAP everybody signs: it says nothing
			w.service.learnt.set(&src.signs)
		}
		return NumReasons
	}
	cl.unsigned.Add(1)
	src.unsigned.Add(1)
	src.lastUnsigned.Store(w.clock().Unix())
	switch cl.posture {
	case postureRequire:
		return ReasonUnsigned
	case postureAuto:
		if src.signs.Load() || w.ix.ProxyStates > 0 && !src.proxy {
			return ReasonUnsigned
		}
	}
	return NumReasons
}

// Learnt is what one source address has shown (R13).
type Learnt struct {
	Address netip.Addr
	Client  string // "" when no client has the address any more
	// Signs: under `auto` it must send a Message-Authenticator from now on.
	Signs bool
	// Proxy: its first Access-Request had Proxy-State.
	Proxy bool
	// Unsigned counts its Access-Requests without Message-Authenticator since
	// the start, dropped or not: where it is above 0, `require` would break it.
	Unsigned     uint64
	LastUnsigned time.Time // zero when there was none
}

// Learnt lists what is known of sources, by address.
func (s *Service) Learnt() []Learnt {
	s.mu.Lock()
	configs := s.options.Config.Clients
	states := s.clients
	table, err := newClientTable(configs, states)
	s.mu.Unlock()
	l := s.learnt
	l.mu.Lock()
	out := make([]Learnt, 0, len(l.sources))
	for a, src := range l.sources {
		item := Learnt{Address: a, Signs: src.signs.Load(), Proxy: src.proxy, Unsigned: src.unsigned.Load()}
		if at := src.lastUnsigned.Load(); at != 0 {
			item.LastUnsigned = time.Unix(at, 0).UTC()
		}
		out = append(out, item)
	}
	l.mu.Unlock()
	for i := range out {
		if err == nil {
			if c := table.lookup(out[i].Address); c != nil {
				out[i].Client = c.name
			}
		}
	}
	slices.SortFunc(out, func(a, b Learnt) int { return a.Address.Compare(b.Address) })
	return out
}

// ForgetLearnt forgets what was learnt of an address, or of all addresses and
// backends when it is the zero Addr, and tells how many it were.
func (s *Service) ForgetLearnt(a netip.Addr) int {
	l := s.learnt
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	if a.IsValid() {
		if l.sources[a.Unmap()] != nil {
			n = 1
			delete(l.sources, a.Unmap())
		}
	} else {
		n = len(l.sources)
		clear(l.sources)
		for _, mark := range l.backends {
			if mark.Swap(false) {
				n++
			}
		}
	}
	l.epoch.Add(1)
	l.dirty.Store(true)
	return n
}

// learntFile is the file's form.
type learntFile struct {
	Sources  []learntSource  `json:"sources"`
	Backends []learntBackend `json:"backends"`
}

type learntSource struct {
	Address netip.Addr `json:"address"`
	Signs   bool       `json:"signs"`
	Proxy   bool       `json:"proxy"`
}

type learntBackend struct {
	Pool    string `json:"pool"`
	Backend string `json:"backend"`
	Role    string `json:"role"`
}

// load reads the file. One that is absent is a first start; one that cannot be
// read is told and then ignored, since the service must come up.
func (l *learnt) load() {
	if l.path == "" {
		return
	}
	if err := l.read(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.logger.Warn("what was learnt of Message-Authenticators is lost: clients may leave them out again until they have sent one", zap.Error(err))
	}
}

func (l *learnt) read() error {
	info, err := os.Stat(l.path)
	if err != nil {
		return err
	}
	if info.Size() > maxLearntFile {
		return fmt.Errorf("reading %s: %d bytes is more than it can have", l.path, info.Size())
	}
	data, err := os.ReadFile(l.path)
	if err != nil {
		return err
	}
	var f learntFile
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("reading %s: %w", l.path, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range f.Sources {
		if s.Address.IsValid() && len(l.sources) < maxSources {
			src := &source{proxy: s.Proxy}
			src.signs.Store(s.Signs)
			l.sources[s.Address.Unmap()] = src
		}
	}
	for _, b := range f.Backends[:min(len(f.Backends), maxSources)] {
		mark := &atomic.Bool{}
		mark.Store(true)
		l.backends[backendKey{b.Pool, b.Backend, b.Role}] = mark
	}
	return nil
}

// save writes the file anew and puts it in the old one's place.
func (l *learnt) save() {
	l.saving.Lock()
	defer l.saving.Unlock()
	if l.path == "" || !l.dirty.Swap(false) {
		return
	}
	var f learntFile
	l.mu.Lock()
	for a, s := range l.sources {
		f.Sources = append(f.Sources, learntSource{Address: a, Signs: s.signs.Load(), Proxy: s.proxy})
	}
	for k, mark := range l.backends {
		if mark.Load() {
			f.Backends = append(f.Backends, learntBackend{k.pool, k.backend, k.role})
		}
	}
	l.mu.Unlock()
	slices.SortFunc(f.Sources, func(a, b learntSource) int { return a.Address.Compare(b.Address) })
	data, err := json.Marshal(f)
	if err == nil {
		err = replaceFile(l.path, data)
	}
	if err != nil {
		l.dirty.Store(true)
		l.repeats.Line(zap.WarnLevel, "keeping what was learnt of Message-Authenticators").Say(func() []zap.Field { return []zap.Field{zap.Error(err)} })
	}
}

// replaceFile puts data in the place of a file, whole or not at all.
func replaceFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what failed is told; what is left of it is in the way of nobody
	}
	return err
}

// syncDir makes the names in a directory last.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// keep saves what was learnt now and then, and at the end.
func (l *learnt) keep(stop <-chan struct{}, done func()) {
	defer done()
	t := time.NewTicker(saveInterval)
	defer t.Stop()
	for {
		select {
		case <-stop:
			l.save()
			return
		case <-t.C:
			l.save()
		}
	}
}
