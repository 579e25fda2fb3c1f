package bgp

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const addressesFile = "addresses.json"

// Addresses puts anycast addresses on interfaces and takes them away again,
// but only those that it put there itself (A23). What it put there is kept in
// the state directory, so that a crash leaves nothing behind for ever. All
// methods are safe for concurrent use.
type Addresses struct {
	dir string

	mu  sync.Mutex
	own map[assigned]bool
}

// assigned is one address on one interface.
type assigned struct {
	Interface string     `json:"interface"`
	Address   netip.Addr `json:"address"`
}

// NewAddresses reads what an earlier run left on interfaces. It changes
// nothing. stateDir "" keeps no memory.
func NewAddresses(stateDir string) (*Addresses, error) {
	a := &Addresses{dir: stateDir, own: map[assigned]bool{}}
	if stateDir == "" {
		return a, nil
	}
	b, err := os.ReadFile(filepath.Join(stateDir, addressesFile))
	if errors.Is(err, os.ErrNotExist) {
		return a, nil
	}
	var list []assigned
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return a, fmt.Errorf("reading %s: %w", addressesFile, err)
	}
	for _, x := range list {
		if x.Interface != "" && x.Address.IsValid() { // what is not whole must take nobody's address away
			a.own[x] = true
		}
	}
	return a, nil
}

// Apply makes the interfaces have the addresses of every entry with `assign`:
// prefix length full; for IPv6 with preferred lifetime 0, so that the host does
// not choose an anycast address as a source, and without duplicate address
// detection. Addresses that it put there earlier and that are wanted no more
// are taken away. It needs CAP_NET_ADMIN. On errors it goes on with the others
// and returns all.
func (a *Addresses) Apply(anycast []AnycastConfig) error {
	want := map[assigned]bool{}
	for i := range anycast {
		if anycast[i].Assign == "" {
			continue
		}
		for _, p := range anycast[i].Prefixes {
			if p.IsSingleIP() {
				want[assigned{anycast[i].Assign, p.Addr()}] = true
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, x := range sorted(want) {
		if has, err := x.present(); err != nil {
			errs = append(errs, err)
		} else if !has {
			// Noted before it is done: a crash in between must not make the
			// address look like somebody else's.
			a.own[x] = true
			errs = append(errs, a.save(), x.add())
		}
	}
	for _, x := range sorted(a.own) {
		if !want[x] {
			errs = append(errs, a.remove(x))
		}
	}
	return errors.Join(append(errs, a.save())...)
}

// Release takes away all that Apply put on interfaces: the last step of a stop.
func (a *Addresses) Release() error { return a.Apply(nil) }

func (a *Addresses) remove(x assigned) error {
	if err := x.del(); err != nil {
		return err
	}
	delete(a.own, x)
	return nil
}

func (a *Addresses) save() error {
	b, err := json.Marshal(sorted(a.own))
	if err != nil {
		return fmt.Errorf("encoding addresses: %w", err)
	}
	return saveFile(a.dir, addressesFile, b)
}

func sorted(m map[assigned]bool) []assigned {
	out := make([]assigned, 0, len(m))
	for x := range m {
		out = append(out, x)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Interface != out[j].Interface {
			return out[i].Interface < out[j].Interface
		}
		return out[i].Address.Less(out[j].Address)
	})
	return out
}

func (x assigned) String() string { return x.Address.String() + " on " + x.Interface }

func (x assigned) netlink() *netlink.Addr {
	bits := x.Address.BitLen()
	n := &netlink.Addr{IPNet: &net.IPNet{IP: x.Address.AsSlice(), Mask: net.CIDRMask(bits, bits)}}
	if x.Address.Is6() {
		n.Flags = unix.IFA_F_NODAD
		n.ValidLft, n.PreferedLft = math.MaxUint32, 0
	}
	return n
}

func (x assigned) present() (bool, error) {
	link, err := netlink.LinkByName(x.Interface)
	if err != nil {
		return false, fmt.Errorf("putting %s: %w", x, err)
	}
	list, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return false, fmt.Errorf("putting %s: %w", x, err)
	}
	for _, l := range list {
		if ip, ok := netip.AddrFromSlice(l.IP); ok && ip.Unmap() == x.Address {
			return true, nil
		}
	}
	return false, nil
}

func (x assigned) add() error {
	link, err := netlink.LinkByName(x.Interface)
	if err == nil {
		err = netlink.AddrAdd(link, x.netlink())
	}
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("putting %s: %w", x, err)
	}
	return nil
}

// del is content when the address or the whole interface is gone already.
func (x assigned) del() error {
	link, err := netlink.LinkByName(x.Interface)
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) {
		return nil
	}
	if err == nil {
		err = netlink.AddrDel(link, x.netlink())
	}
	if err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("taking away %s: %w", x, err)
	}
	return nil
}
