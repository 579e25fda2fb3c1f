package bgp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// flapWindow is how long a flap counts (A12).
const flapWindow = time.Hour

// memory is what must outlive a restart: when routes were lost, and whether the
// last run ended by its own will. It is a value without a lock; its owner has one.
type memory struct {
	Version int                  `json:"version"`
	Running bool                 `json:"running"` // false only after a clean stop
	Alive   time.Time            `json:"alive"`   // last time that the running node wrote this
	Entries map[string]*memEntry `json:"entries"`

	unclean time.Time // end of a previous run that did not stop cleanly; zero: none
}

type memEntry struct {
	Announced bool        `json:"announced"`       // the route stood when this was written
	Flaps     []time.Time `json:"flaps,omitempty"` // times at which an announced route was lost for want of health
}

const (
	memoryFile    = "anycast.json"
	memoryVersion = 1
)

// loadMemory reads what the last run left in dir. A missing file is a first
// start. A file that cannot be read is an error and yields an empty memory that
// takes the last run's end for unclean, so that nothing is announced too early.
func loadMemory(dir string, now time.Time) (*memory, error) {
	m := &memory{Version: memoryVersion, Entries: map[string]*memEntry{}}
	if dir == "" {
		return m, nil
	}
	path := filepath.Join(dir, memoryFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(b, m)
	}
	if err == nil && m.Version != memoryVersion {
		err = fmt.Errorf("version %d is of another program than this one", m.Version)
	}
	if err != nil {
		return &memory{Version: memoryVersion, Entries: map[string]*memEntry{}, unclean: now}, fmt.Errorf("reading flap memory %s: %w", path, err)
	}
	if m.Entries == nil {
		m.Entries = map[string]*memEntry{}
	}
	if m.Alive.After(now) { // the wall clock was set back
		m.Alive = now
	}
	for name, e := range m.Entries {
		if e == nil {
			delete(m.Entries, name)
			continue
		}
		if m.Running && e.Announced {
			e.Flaps = append(e.Flaps, m.Alive) // the crash took the route away
		}
		e.Announced = false
	}
	if m.Running {
		m.unclean = m.Alive
	}
	m.forget(now)
	return m, nil
}

// forget drops flaps that count no more. Those that seem to be in the future, because the wall clock was set back, are
// taken for just now, so that none counts for longer than an hour from here.
func (m *memory) forget(now time.Time) {
	for _, e := range m.Entries {
		for i, t := range e.Flaps {
			if t.After(now) {
				e.Flaps[i] = now
			}
		}
		e.Flaps = slices.DeleteFunc(e.Flaps, func(t time.Time) bool { return now.Sub(t) >= flapWindow })
		e.Flaps = slices.Delete(e.Flaps, 0, max(0, len(e.Flaps)-maxFlaps))
	}
}

func (m *memory) entry(name string) *memEntry {
	e := m.Entries[name]
	if e == nil {
		e = &memEntry{}
		m.Entries[name] = e
	}
	return e
}

// flaps counts the losses of a route within the last hour.
func (m *memory) flaps(name string, now time.Time) int {
	n := 0
	if e := m.Entries[name]; e != nil {
		for _, t := range e.Flaps {
			if now.Sub(t) < flapWindow {
				n++
			}
		}
	}
	return n
}

// firstStart tells whether nothing bad happened to the entry within the last hour.
func (m *memory) firstStart(name string, now time.Time) bool {
	return m.flaps(name, now) == 0 && (m.unclean.IsZero() || now.Sub(m.unclean) >= flapWindow)
}

// maxFlaps bounds the list: more do not change the delay, which has its own bound.
const maxFlaps = 64

// flap notes that an announced route was lost at now, with now's monotonic reading: while this run lasts no setting of
// the clock changes when it happened.
func (m *memory) flap(name string, now time.Time) {
	e := m.entry(name)
	e.Flaps = append(e.Flaps, now)
	if len(e.Flaps) > maxFlaps {
		e.Flaps = slices.Delete(e.Flaps, 0, len(e.Flaps)-maxFlaps)
	}
}

// encode renders the memory for the disk.
func (m *memory) encode(now time.Time, running bool) ([]byte, error) {
	m.Running, m.Alive = running, now.UTC()
	m.forget(now)
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding flap memory: %w", err)
	}
	return b, nil
}

// saveMemory writes b so that a crash leaves either the old or the new file.
func saveMemory(dir string, b []byte) error { return saveFile(dir, memoryFile, b) }

// saveFile writes a file of dir whole or not at all; with dir "" it does nothing.
func saveFile(dir, name string, b []byte) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("saving %s: %w", name, err)
	}
	f, err := os.CreateTemp(dir, "."+name+"-*")
	if err != nil {
		return fmt.Errorf("saving %s: %w", name, err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("saving %s: %w", name, errors.Join(err, os.Remove(f.Name())))
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("saving %s: %w", name, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("saving %s: %w", name, err)
	}
	return nil
}
