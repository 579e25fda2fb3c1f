package dnsfront

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/maphash"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"

	"sereno/proxy/dnswire"
)

// maxBlockNames bounds one list, in names or records of local data: what would be more is
// refused with the whole configuration. It also keeps places in the arena of names below 2^32.
const maxBlockNames = 10_000_000

// maxBlockLine bounds one line, in octets.
const maxBlockLine = 1 << 20

// blockReport is what an operator is told of a file.
type blockReport struct {
	file    string
	names   int
	ignored int    // lines that are not names, or triggers that we do not know
	example string // the first of them, with its line
}

// loadBlock reads one block list. Lines that are not understood are counted, not obeyed:
// one of them must not open all that the others close.
func loadBlock(c *BlockConfig) (*blockList, blockReport, error) {
	f, err := os.Open(c.File)
	if err != nil {
		return nil, blockReport{}, fmt.Errorf("reading block list: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	b := &blockList{seed: maphash.MakeSeed(), max: maxBlockNames, ede: map[string]int{"censored": dnswire.EDECensored, "filtered": dnswire.EDEFiltered}[c.Reason]}
	if b.ede == 0 {
		b.ede = dnswire.EDEBlocked
	}
	rep := blockReport{file: c.File}
	switch c.Format {
	case "rpz":
		err = b.readRPZ(f, &rep)
	default:
		b.rules = []blockRule{actionRule(c.Action)}
		err = b.readLines(f, c.Format == "hosts", &rep)
	}
	if err != nil {
		return nil, rep, fmt.Errorf("reading block list %s: %w", c.File, err)
	}
	return b, rep, nil
}

func actionRule(action string) blockRule {
	if a, err := netip.ParseAddr(action); err == nil {
		return addressRule(a.Unmap())
	}
	return blockRule{action: map[string]blockAction{"nxdomain": blockNXDomain, "refuse": blockRefuse, "nodata": blockNoData, "drop": blockDrop}[action]}
}

func (r *blockReport) ignore(line int, what string) {
	if r.ignored == 0 {
		r.example = fmt.Sprintf("line %d: %.80q", line, what)
	}
	r.ignored++
}

func (b *blockList) readLines(f io.Reader, hosts bool, rep *blockReport) error {
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxBlockLine)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "\ufeff"), "#")
		words := strings.Fields(text)
		if hosts && len(words) > 0 {
			if _, err := netip.ParseAddr(words[0]); err != nil {
				rep.ignore(n, text)
				continue
			}
			words = words[1:]
		} else if len(words) > 1 {
			rep.ignore(n, text)
			continue
		}
		for _, word := range words {
			if hosts && isLocalName(word) {
				continue
			}
			// Lists write *.name for all below a name.
			bare, wild := strings.CutPrefix(word, "*.")
			name, ok := blockName(bare)
			if !ok || wild && hosts {
				rep.ignore(n, word)
				continue
			}
			hash, added := maphash.Bytes(b.seed, name), false
			if !wild {
				added = b.exact.add(hash, name, 0)
			}
			if !hosts && b.below.add(hash, name, 0) && wild || added {
				rep.names++
			}
			if rep.names > b.max {
				return b.tooLong()
			}
		}
	}
	return lines.Err()
}

func (b *blockList) tooLong() error { return fmt.Errorf("it has more than %d names", b.max) }

// blockName reads a name as lists write it: with or without the last dot, in other
// scripts too (IDNA). The root would block everything, which nobody means.
func blockName(s string) ([]byte, bool) {
	for i := range len(s) {
		if s[i] >= 0x80 {
			ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(s, "."))
			if err != nil {
				return nil, false
			}
			s = ascii
			break
		}
	}
	name, ok := dnswire.ParseName(nil, s)
	return name, ok && len(name) > 1
}

// isLocalName tells names that hosts files have for the host itself.
func isLocalName(s string) bool {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	switch s {
	case "localhost", "localhost.localdomain", "local", "broadcasthost", "0.0.0.0", "ip6-localhost", "ip6-loopback",
		"ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters", "ip6-allhosts":
		return true
	}
	return strings.HasSuffix(s, ".localhost")
}

// readRPZ reads a response policy zone (draft-vixie-dnsop-dns-rpz): triggers on the
// question's name only. Wildcards stand where they are written.
func (b *blockList) readRPZ(f io.Reader, rep *blockReport) error {
	zp := dns.NewZoneParser(f, ".", rep.file)
	zp.SetDefaultTTL(localTTL)
	origin := "."
	index := map[string]int{} // owner → rule
	simple := map[blockAction]int{}
	records := 0
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if records++; records > b.max { // $GENERATE makes many of one line
			return b.tooLong()
		}
		owner := strings.ToLower(rr.Header().Name)
		if rr.Header().Rrtype == dns.TypeSOA {
			origin = owner
			continue
		}
		trigger, inside := strings.CutSuffix(owner, "."+strings.TrimPrefix(origin, "."))
		if origin == "." {
			trigger, inside = strings.TrimSuffix(owner, "."), owner != "."
		}
		if owner == origin {
			continue // NS and the like of the zone itself
		}
		if !inside || isOtherTrigger(trigger) || isSignature(rr) {
			rep.ignore(records, owner)
			continue
		}
		if err := b.addRPZ(trigger, rr, index, simple, rep); err != nil {
			rep.ignore(records, owner)
		}
	}
	return zp.Err()
}

func isOtherTrigger(trigger string) bool {
	last := trigger[strings.LastIndexByte(trigger, '.')+1:]
	return strings.HasPrefix(last, "rpz-")
}

func isSignature(rr dns.RR) bool {
	switch rr.Header().Rrtype {
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeDNSKEY, dns.TypeDS, dns.TypeNS:
		return true
	}
	return false
}

func (b *blockList) addRPZ(trigger string, rr dns.RR, index map[string]int, simple map[blockAction]int, rep *blockReport) error {
	bare, wild := strings.CutPrefix(trigger, "*.")
	name, ok := dnswire.ParseName(nil, bare)
	if !ok {
		return errForeign
	}
	table := &b.exact
	if wild {
		table = &b.below
	}
	add := func(rule int) {
		if table.add(maphash.Bytes(b.seed, name), name, rule) {
			rep.names++
		}
	}
	if c, isCNAME := rr.(*dns.CNAME); isCNAME {
		if action, special := rpzAction(strings.ToLower(c.Target), trigger); special {
			if _, known := simple[action]; !known {
				b.rules = append(b.rules, blockRule{action: action})
				simple[action] = len(b.rules) - 1
			}
			add(simple[action])
			return nil
		}
	}
	rdata, err := rdataOf(rr)
	if err != nil {
		return err
	}
	rec := blockRecord{typ: rr.Header().Rrtype, ttl: min(rr.Header().Ttl, 1<<31-1), rdata: rdata}
	if i, known := index[trigger]; known {
		b.rules[i].data = append(b.rules[i].data, rec)
		return nil
	}
	b.rules = append(b.rules, blockRule{action: blockData, data: []blockRecord{rec}})
	index[trigger] = len(b.rules) - 1
	add(len(b.rules) - 1)
	return nil
}

// rpzAction reads the actions that are written as targets of a CNAME.
func rpzAction(target, own string) (blockAction, bool) {
	switch target {
	case ".":
		return blockNXDomain, true
	case "*.":
		return blockNoData, true
	case "rpz-passthru.", own + ".": // the latter as it was written of old
		return blockPass, true
	case "rpz-drop.":
		return blockDrop, true
	case "rpz-tcp-only.":
		return blockTCPOnly, true
	}
	return 0, false
}

// rdataOf packs a record's RDATA without compression.
func rdataOf(rr dns.RR) ([]byte, error) {
	rr = dns.Copy(rr)
	rr.Header().Name = "."
	buf := make([]byte, dns.Len(rr)+16)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(buf[11:n]), nil // root, type, class, TTL, length
}
