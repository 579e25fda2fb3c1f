package capacity

import (
	"errors"
	"fmt"
	"time"
)

// Shape is how the rate goes.
type Shape string

// The shapes.
const (
	Fixed  Shape = "fixed"  // one rate (or, closed, as fast as the server answers)
	Ramp   Shape = "ramp"   // from one rate to another, in windows of equal steps
	Search Shape = "search" // for the knee
)

// Bounds are what a window must keep to be held.
type Bounds struct {
	Loss float64       // share (0..1) of requests that may be lost or answered wrongly
	P99  time.Duration // of the right answers; 0: any
}

// Plan says what is measured. Zero fields take their defaults.
type Plan struct {
	Shape     Shape
	Rate      float64       // Fixed: requests a second; 0: closed loop
	From, To  float64       // Ramp: the first and the last rate; Search: the first, 1000, and the highest, 1e6
	For       time.Duration // Fixed and Ramp: how long in all; 10 s
	Windows   int           // Ramp: how many; 10
	Window    time.Duration // Search: how long one rate is tried; 3 s
	Settle    time.Duration // Ramp, Search: how long a rate is sent before its window begins; 300 ms
	Precision float64       // Search: how far the knee may be off, as a share; 0.05
	Drain     time.Duration // how long requests may wait for their answers after a window; the generator's timeout
	Sample    time.Duration // how often a sample is taken; 500 ms
	Bounds    Bounds
}

// withDefaults fills in what is not given.
func (p Plan) withDefaults() Plan {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&p.For, 10*time.Second)
	set(&p.Window, 3*time.Second)
	set(&p.Settle, 300*time.Millisecond)
	set(&p.Drain, 5*time.Second)
	set(&p.Sample, 500*time.Millisecond)
	if p.Windows == 0 {
		p.Windows = 10
	}
	if p.Precision == 0 {
		p.Precision = 0.05
	}
	if p.Shape == Search && p.From == 0 {
		p.From = 1000
	}
	if p.Shape == Search && p.To == 0 {
		p.To = 1e6
	}
	return p
}

// validate says what cannot be.
func (p *Plan) validate() error {
	switch {
	case p.Bounds.Loss < 0 || p.Bounds.Loss >= 1:
		return fmt.Errorf("bound of loss %g: must be from 0 to below 1", p.Bounds.Loss)
	case p.Bounds.P99 < 0 || p.For < 0 || p.Window < 0 || p.Settle < 0 || p.Drain < 0 || p.Sample < 0:
		return errors.New("times must not be negative")
	case p.Sample < 10*time.Millisecond:
		return errors.New("samples must be at least 10ms apart")
	}
	switch p.Shape {
	case Fixed:
		if p.Rate < 0 {
			return errors.New("the rate must not be negative")
		}
	case Ramp:
		if p.From <= 0 || p.To <= 0 || p.Windows < 2 || p.Windows > 1000 {
			return errors.New("a ramp needs two rates above 0, and 2 to 1000 windows")
		}
	case Search:
		if p.From <= 0 || p.To < p.From {
			return errors.New("a search needs a first rate above 0 and a highest that is not below it")
		}
		if p.Precision < 0.01 || p.Precision > 0.5 {
			return errors.New("the search's precision must be from 0.01 to 0.5")
		}
	default:
		return fmt.Errorf("%q is no shape", p.Shape)
	}
	return nil
}

// rates are those of a ramp.
func (p *Plan) rates() []float64 {
	rates := make([]float64, p.Windows)
	for i := range rates {
		rates[i] = p.From + (p.To-p.From)*float64(i)/float64(p.Windows-1)
	}
	return rates
}
