package app

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../../../.."

// fuzzed is which fuzz targets cover the files that read what others wrote: packets, files,
// answers, configuration. A file that the test below finds stands here, or in notFuzzed.
var fuzzed = map[string][]string{
	"bench/load/dns.go":                       {"bench/load.FuzzReply"},
	"bench/load/list.go":                      {"bench/load.FuzzLists"},
	"bench/stub/radius.go":                    {"bench/stub.FuzzAnswer"},
	"bench/stub/resolver.go":                  {"bench/stub.FuzzAnswer"},
	"bench/stub/tcp.go":                       {"bench/stub.FuzzAnswer"},
	"bgp/addresses.go":                        {"bgp.FuzzAddresses"},
	"bgp/frame.go":                            {"bgp.FuzzReadFrame"},
	"bgp/memory.go":                           {"bgp.FuzzMemory"},
	"bgp/speaker/main.go":                     {"bgp.FuzzReadFrame"},
	"cmd/sereno/internal/app/drains.go":       {"cmd/sereno/internal/app.FuzzDrains"},
	"cmd/sereno/internal/admin":               {"cmd/sereno/internal/admin.FuzzRequest", "cmd/sereno/internal/admin.FuzzParseTarget"},
	"cmd/sereno/internal/cli":                 {"cmd/sereno/internal/cli.FuzzClean"},
	"cmd/sereno/internal/cli/bench_radius.go": {"bench/load.FuzzLists"},
	"config/files.go":                         {"config.FuzzSecretFile"},
	"config/load.go":                          {"config.FuzzParse", "config.FuzzInclude"},
	"health/ledger/open.go":                   {"health/ledger.FuzzOpen"},
	"health/probe_dns.go":                     {"health.FuzzDNSProbeAnswer"},
	"health/probe_radius.go":                  {"health.FuzzRADIUSProbeAnswer"},
	"health/selfprobe.go":                     {"proxy/dnswire.FuzzProbe"},
	"proxy/dnsfront/blockfile.go":             {"proxy/dnsfront.FuzzBlockList"},
	"proxy/dnsfront/cookie.go":                {"proxy/dnsfront.FuzzCookieSecrets"},
	"proxy/dnsfront/dns64.go":                 {"proxy/dnsfront.FuzzRewrittenReply"},
	"proxy/dnsfront/https.go":                 {"proxy/dnsfront.FuzzHTTPS"},
	"proxy/dnsfront/snapshot.go":              {"proxy/dnsfront.FuzzSnapshot", "proxy/dnsfront.FuzzSnapshotRecord"},
	"proxy/dnsfront/stream.go":                {"proxy/dnsfront.FuzzStream"},
	"proxy/dnsfront/upstream_tcp.go":          {"proxy/dnsfront.FuzzUpstreamReply"},
	"proxy/dnsfront/worker.go":                {"proxy/dnsfront.FuzzServe", "proxy/dnsfront.FuzzUpstreamReply", "proxy/dnsfront.FuzzCacheAgreesWithOracle"},
	"proxy/dnswire":                           {"proxy/dnswire.FuzzParseQuery", "proxy/dnswire.FuzzParseReply", "proxy/dnswire.FuzzNames", "proxy/dnswire.FuzzProbe"},
	"proxy/radiusfront/learnt.go":             {"proxy/radiusfront.FuzzLearntFile"},
	"proxy/radiusfront/parcel.go":             {"proxy/radiusfront.FuzzParcel"},
	"proxy/radiusfront/survivalfile.go":       {"proxy/radiusfront.FuzzSurvivalFile", "proxy/radiusfront.FuzzSurvivalJournal"},
	"proxy/radiusfront/worker.go":             {"proxy/radiusfront.FuzzWorker"},
	"proxy/radiusfront/spool":                 {"proxy/radiusfront/spool.FuzzSegment", "proxy/radiusfront/spool.FuzzSegmentName", "proxy/radiusfront/spool.FuzzOpen"},
	"proxy/radwire": {"proxy/radwire.FuzzWalk", "proxy/radwire.FuzzRewriteRequest", "proxy/radwire.FuzzRewriteReply",
		"proxy/radwire.FuzzText"},
}

// notFuzzed is why files that read something need no target of their own.
var notFuzzed = map[string]string{
	"cmd/sereno/internal/app/statedir.go": "it locks a file and writes others",
	"cmd/sereno/internal/app/memory.go":   "files of the kernel",
	"cmd/sereno/internal/demo":            "its own children's output, on the operator's own machine",
	"proxy/radiusfront/seal.go":           "a key of 32 bytes: any 32 are one",
	"proxy/udp":                           "datagrams as they are, and control messages of the kernel",
	"bench/capacity":                      "files of the kernel",
	"bench/cmd":                           "started by hand: measurements",
	"bench/compare":                       "started by hand: measurements",
	"bench/e2e":                           "tests",
	"bench/internal":                      "tests",
	"bench/lab":                           "started by hand: measurements",
	"config/spoil":                        "tests",
	"bench/load/streams.go":               "lengths before messages, which FuzzReply judges",
}

// given are rows of what reads nothing itself and is given what others wrote.
var given = []string{"health/probe_radius.go", "proxy/dnswire", "proxy/radwire", "proxy/radiusfront/parcel.go"}

// reading are the calls by which a file reads what others wrote.
var reading = []string{
	"os.ReadFile", "fs.ReadFile", "os.Open", "os.OpenFile", "os.ReadDir", "io.ReadAll", "io.ReadFull", "bufio.NewScanner", "bufio.NewReader", "bufio.NewReaderSize",
	"json.Unmarshal", "json.NewDecoder", "yaml.Unmarshal", "yaml.UnmarshalWithOptions", "parser.ParseBytes", "bolt.Open", "dns.NewZoneParser", "*.Unpack", "*.ReadMsgUDPAddrPort", "*.ReadFrame",
}

// TestO32EveryParserIsFuzzed: every file that reads what others wrote names its fuzz
// targets in the table above, all of which are there, and no target is in no row.
func TestO32EveryParserIsFuzzed(t *testing.T) {
	have, reads := map[string]bool{}, []string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "tools") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		name, err = filepath.Rel(root, name)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if strings.HasSuffix(name, "_test.go") {
			for _, target := range targets(file) {
				have[path.Dir(name)+"."+target] = true
			}
		} else if readsOutside(file) {
			reads = append(reads, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, file := range reads {
		row, why := rowOf(file, fuzzed), rowOf(file, notFuzzed)
		if row == "" && why == "" {
			t.Errorf("%s reads what others wrote: name its fuzz target in the table, or why it needs none", file)
		}
		used[row], used[why] = true, true
	}
	named := map[string]bool{}
	for row, list := range fuzzed {
		for _, target := range list {
			named[target] = true
			if !have[target] {
				t.Errorf("%s: there is no fuzz target %s", row, target)
			}
		}
		if !used[row] && !slices.Contains(given, row) {
			t.Errorf("%s reads nothing any more", row)
		}
	}
	for _, target := range slices.Sorted(maps.Keys(have)) {
		if !named[target] {
			t.Errorf("%s covers no file of the table", target)
		}
	}
	for row := range notFuzzed {
		if !used[row] {
			t.Errorf("%s reads nothing any more", row)
		}
	}
}

// rowOf is the file's own row, else that of the nearest directory above it.
func rowOf[T any](file string, table map[string]T) string {
	for ; file != "."; file = path.Dir(file) {
		if _, ok := table[file]; ok {
			return file
		}
	}
	return ""
}

func targets(file *ast.File) (names []string) {
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") {
			names = append(names, f.Name.Name)
		}
	}
	return names
}

// readsOutside tells whether a file has one of the calls, handles requests of HTTP, or
// receives datagrams.
func readsOutside(file *ast.File) (yes bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok {
				x, _ := f.X.(*ast.Ident)
				yes = yes || x != nil && slices.Contains(reading, x.Name+"."+f.Sel.Name) || slices.Contains(reading, "*."+f.Sel.Name)
			}
		case *ast.FuncDecl:
			yes = yes || n.Name.Name == "Receive"
			for _, p := range n.Type.Params.List {
				if star, ok := p.Type.(*ast.StarExpr); ok {
					f, _ := star.X.(*ast.SelectorExpr)
					yes = yes || f != nil && f.Sel.Name == "Request" && f.X.(*ast.Ident).Name == "http"
				}
			}
		}
		return true
	})
	return yes
}
