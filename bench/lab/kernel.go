package lab

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
)

// kernel is what forwards at a router of the core: it may go on sending to a node for a while after the router's own
// table has moved, and what is sent meanwhile goes the old way.
type kernel struct {
	namespace string
	files     []*os.File // its tables, in the order of families
}

func (k *kernel) label() string     { return k.namespace }
func (*kernel) daemons() []*process { return nil }

// connect opens the tables in the router's namespace, where they stay.
func (k *kernel) connect() error {
	return within(k.namespace, func() error {
		k.files = nil
		for _, name := range []string{"route", "ipv6_route"} {
			f, err := os.Open("/proc/thread-self/net/" + name)
			if err != nil {
				return err
			}
			k.files = append(k.files, f)
		}
		return nil
	})
}

// ask gives the links over which a prefix is sent: each is named after the namespace at its other end.
func (k *kernel) ask(prefix string) (view, error) {
	if len(k.files) < len(families) {
		return view{}, net.ErrClosed
	}
	to, err := netip.ParsePrefix(prefix)
	if err != nil {
		return view{}, err
	}
	v := view{paths: map[string]int{}}
	file, begin := k.files[0], ""
	if a := to.Addr(); a.Is4() {
		four := a.As4()
		begin = fmt.Sprintf("\t%08X\t", binary.NativeEndian.Uint32(four[:]))
	} else {
		file, begin = k.files[1], fmt.Sprintf("%x %02x ", a.As16(), to.Bits())
	}
	text, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<20))
	if err != nil {
		return view{}, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case to.Addr().Is4() && strings.Contains(line, begin):
			v.best = fields[0]
		case to.Addr().Is6() && strings.HasPrefix(line, begin):
			v.best = fields[len(fields)-1]
		default:
			continue
		}
		v.paths[v.best] = announced
	}
	return v, nil
}

// around: the kernel has a way, and it does not lead to a site's node.
func around(site int) func(view) bool {
	return func(v view) bool { return !v.down && v.best != "" && v.paths[nodeSpace(site)] == absent }
}
