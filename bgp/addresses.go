package bgp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const addressesFile = "addresses.json"

// Addresses puts anycast addresses on interfaces and takes them away again,
// but only those that it put there itself (A23). What it put there is kept in
// the state directory, so that a crash leaves nothing behind for ever. All
// methods are safe for concurrent use.
type Addresses struct {
	dir   string
	log   *zap.Logger
	place string // where this process's interfaces are: what was put elsewhere is gone

	mu      sync.Mutex
	own     map[assigned]bool
	written []byte // what the disk has
	unnoted bool   // the disk does not take it, which was said
}

// assigned is one address on one interface.
type assigned struct {
	Interface string     `json:"interface"`
	Address   netip.Addr `json:"address"`
}

// noted is one of them in the file. Place is empty in files of before it was kept.
type noted struct {
	assigned
	Place string `json:"place,omitempty"`
}

// NewAddresses reads what an earlier run left on interfaces. It changes nothing.
// With an error, of what cannot be read, it is usable all the same and knows of
// nothing. stateDir "" keeps no memory. log (nil: nobody) is told when the disk
// takes no notes.
func NewAddresses(stateDir string, log *zap.Logger) (*Addresses, error) {
	if log == nil {
		log = zap.NewNop()
	}
	a := &Addresses{dir: stateDir, log: log, place: interfacesPlace(), own: map[assigned]bool{}}
	if stateDir == "" {
		return a, nil
	}
	path := filepath.Join(stateDir, addressesFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return a, nil
	}
	var list []noted
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return a, fmt.Errorf("reading %s: %w (look at the interfaces, then remove the file)", path, err)
	}
	for _, x := range list {
		// What is not whole must take nobody's address away, nor what a boot took away
		// already: the same address, if it is there, is somebody else's.
		if x.Interface != "" && x.Address.IsValid() && (x.Place == "" || x.Place == a.place) {
			a.own[x.assigned] = true
		}
	}
	a.written = b
	return a, nil
}

// interfacesPlace names this boot of the host and the network namespace; "" if that
// cannot be told.
func interfacesPlace() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + namespace
}

// Apply makes the interfaces have the addresses of every entry with `assign`:
// prefix length full; for IPv6 with preferred lifetime 0, so that the host does
// not choose an anycast address as a source, and without duplicate address
// detection. Addresses that it put there earlier and that are wanted no more
// are taken away. It needs CAP_NET_ADMIN. On errors it goes on with the others
// and returns all. A disk that takes no notes is none of them: what that risks, an
// address that outlives a crash, is less than a node that does not start.
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
			a.save()
			errs = append(errs, x.add())
		}
	}
	for _, x := range sorted(a.own) {
		if !want[x] {
			errs = append(errs, a.remove(x))
		}
	}
	a.save()
	return errors.Join(errs...)
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

// save writes down what is ours unless the disk has it.
func (a *Addresses) save() {
	list := []noted{}
	for _, x := range sorted(a.own) {
		list = append(list, noted{x, a.place})
	}
	b, err := json.Marshal(list)
	if err != nil || bytes.Equal(b, a.written) || len(list) == 0 && a.written == nil {
		return // what was read or parsed can be written
	}
	err = saveFile(a.dir, addressesFile, b)
	switch {
	case err == nil:
		a.written = b
	case !a.unnoted:
		a.log.Error("which addresses were put on interfaces cannot be noted: after a crash they would stay there", zap.Error(err))
	}
	a.unnoted = err != nil
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
