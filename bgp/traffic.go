package bgp

import "time"

// A drain's first wait ends when, over quietWindow, the prefix got at most one
// packet for each quietShare that it got in such a window before the drain.
const (
	quietWindow = time.Second
	quietShare  = 50
)

// meter measures one entry's packets in windows.
type meter struct {
	at       time.Time // start of the window
	count    uint64    // packets at its start
	usual    uint64    // packets of the last whole window outside a drain
	draining bool
}

// sample takes the counter's value; it tells whether a drain that began before
// the window has seen the traffic fall away.
func (m *meter) sample(now time.Time, packets uint64, draining bool) (quiet bool) {
	if draining != m.draining || m.at.IsZero() {
		m.draining, m.at, m.count = draining, now, packets
		return false
	}
	if now.Sub(m.at) < quietWindow {
		return false
	}
	n := packets - m.count
	m.at, m.count = now, packets
	if !draining {
		m.usual = n
		return false
	}
	return n <= m.usual/quietShare
}

// measureTraffic ends the first wait of drains whose traffic has fallen away.
func (c *Controller) measureTraffic(now time.Time) {
	if c.o.Traffic == nil {
		return
	}
	for name, x := range c.engine.entries {
		packets, ok := c.o.Traffic(name)
		if !ok {
			continue
		}
		m := c.traffic[name]
		if m == nil {
			m = &meter{}
			c.traffic[name] = m
		}
		since, _ := c.engine.drainOf(x)
		if m.sample(now, packets, !since.IsZero()) {
			x.quiet = true
		}
	}
}
