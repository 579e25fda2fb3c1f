package load

import (
	"context"
	"errors"
	"net/netip"
	"sync"
)

// fleet is generators that share one load.
type fleet struct{ generators []*generator }

// newFleet divides c among c.Workers generators.
func newFleet(c Common, open func(Common) (*generator, error)) (fleet, error) {
	workers := max(c.Workers, 1)
	if workers > maxWorkers {
		return fleet{}, errTooManyWorkers
	}
	part := c
	part.Rate /= float64(workers)
	part.MaxRate /= float64(workers)
	part.Sockets = max(c.Sockets/workers, 1)
	var f fleet
	for i := range workers {
		part.Window = c.Window*(i+1)/workers - c.Window*i/workers
		part.Limit = c.Limit*uint64(i+1)/uint64(workers) - c.Limit*uint64(i)/uint64(workers)
		part.Sources = nil
		for j := i; j < len(c.Sources); j += workers {
			part.Sources = append(part.Sources, c.Sources[j])
		}
		if part.Sources == nil && len(c.Sources) > 0 {
			part.Sources = c.Sources[i%len(c.Sources):][:1]
		}
		if c.Limit > 0 && part.Limit == 0 || c.Window > 0 && part.Window == 0 {
			continue
		}
		g, err := open(part)
		if err != nil {
			return fleet{}, errors.Join(err, f.close())
		}
		f.generators = append(f.generators, g)
	}
	return f, nil
}

// maxWorkers bounds Common.Workers.
const maxWorkers = 256

var errTooManyWorkers = errors.New("workers: must be from 1 to 256")

func (f *fleet) close() error {
	var err error
	for _, g := range f.generators {
		err = errors.Join(err, g.link.close())
	}
	return err
}

// Run sends until ctx ends or Limit is reached, waits for the answers to what was sent, closes the sockets and gives
// the books. It may be called once.
func (f *fleet) Run(ctx context.Context) (Books, error) {
	results := make([]error, len(f.generators))
	var wg sync.WaitGroup
	for i, g := range f.generators {
		wg.Go(func() { _, results[i] = g.run(ctx) })
	}
	wg.Wait()
	return f.Books(), errors.Join(results...)
}

// Books gives the books as they stand.
func (f *fleet) Books() Books {
	var b Books
	for _, g := range f.generators {
		own := g.snapshot()
		b.Add(&own)
	}
	return b
}

// Use sends to that target (an index of Targets) from now on, resends included; -1 sends to nobody.
func (f *fleet) Use(target int) {
	for _, g := range f.generators {
		g.use(target)
	}
}

// SetRate changes the rate from now on.
func (f *fleet) SetRate(rate float64) {
	for _, g := range f.generators {
		g.setRate(rate / float64(len(f.generators)))
	}
}

// Sources are the addresses of a network that load may be sent from, at most limit of them: of IPv4 without its first
// and last.
func Sources(p netip.Prefix, limit int) []netip.Addr {
	var list []netip.Addr
	edges := p.Addr().Is4() && p.Bits() < 31
	for a := p.Masked().Addr(); p.Contains(a) && len(list) < limit; a = a.Next() {
		if edges && (a == p.Masked().Addr() || !p.Contains(a.Next())) {
			continue
		}
		list = append(list, a)
	}
	return list
}
