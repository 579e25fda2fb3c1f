package radiusfront

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sereno/proxy/radiusfront/spool"
	"sereno/proxy/radwire"
)

// TestO04RenamedServiceKeepsItsRecords: what a service stored before and after it
// was renamed is delivered under its new name after a restart, and what it learnt
// is there.
func TestO04RenamedServiceKeepsItsRecords(t *testing.T) {
	dir := t.TempDir()
	backend := newServer(t, silent)
	f := newFront(t, withSpool(dir, setup{backends: []*server{backend}}))
	f.setDown("b0", "acct")
	newNAS(t, f.acctAddr()).exchange(acctOf(1, "a", acctStart))
	was := f.opts.Config.Name
	names := []string{"dialup", was, "dialup", "fibre"} // there, back, and on
	for _, name := range names {
		f.reload(func(o *Options) { o.Config.Name = name })
	}
	newNAS(t, f.acctAddr()).exchange(acctOf(2, "b", acctStart))
	f.s.learnt.dirty.Store(true)
	f.stop()

	spools := func() {
		t.Helper()
		if all, _ := filepath.Glob(filepath.Join(dir, "spool", "*")); len(all) != 1 || filepath.Base(all[0]) != "fibre" {
			t.Errorf("the spool directory holds %v", all)
		}
	}
	spools()
	if _, err := os.Stat(learntPath(dir, "fibre")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(learntPath(dir, was)); err == nil {
		t.Error("what was learnt is there under the old name too")
	}
	backend.setAnswer(accept)
	named(t, dir, "fibre", backend).untilSpool("delivery", func(s *SpoolStats) bool { return s.Delivered == 2 })
	spools()
}

// named is a service of that name.
func named(t *testing.T, dir, name string, backend *server) *front {
	t.Helper()
	return newFront(t, withSpool(dir, setup{backends: []*server{backend}, config: func(c *Config) { c.Name = name }}))
}

// TestO04TheOldNameOfARenamedServiceIsFree: a new service under it has a spool of its own at once, and neither gets the
// other's records after a restart.
func TestO04TheOldNameOfARenamedServiceIsFree(t *testing.T) {
	dir := t.TempDir()
	backends := map[string]*server{"old": newServer(t, silent), "new": newServer(t, silent)}
	store := func(f *front, session string, n int) {
		t.Helper()
		for i := range n {
			newNAS(t, f.acctAddr()).exchange(acctOf(byte(i), session, acctInterim, avp(radwire.AttrClass, strings.Repeat("x", 200))))
		}
	}
	first := named(t, dir, "old", backends["new"])
	first.setDown("b0", "acct")
	store(first, "first", 2)
	o := first.opts
	o.Config.Name, o.Config.Accounting.SpoolMax = "new", 1<<20
	if err := first.s.Update(o); err != nil {
		t.Fatal(err)
	}
	second := named(t, dir, "old", backends["old"])
	second.setDown("b0", "acct")
	store(second, "second", 3)
	store(first, "first", 100) // its segments are small now, so that they go under the new name
	first.stop()
	second.stop()
	for _, name := range []string{"old", "new"} {
		backends[name].setAnswer(accept)
		f, want := named(t, dir, name, backends[name]), map[string]uint64{"old": 3, "new": 102}[name]
		f.untilSpool("delivery", func(s *SpoolStats) bool { return s.Delivered == want && s.Records == 0 })
	}
}

// TestO04ARenameOntoAnothersSpoolIsRefused: before anything is changed, and it says what to do.
func TestO04ARenameOntoAnothersSpoolIsRefused(t *testing.T) {
	dir := t.TempDir()
	backend := newServer(t, silent)
	named(t, dir, "gone", backend).stop()
	f := named(t, dir, "here", backend)
	f.setDown("b0", "acct")
	o := f.opts
	o.Config.Name = "gone"
	if err := f.s.Update(o); err == nil || !strings.Contains(err.Error(), "move it away") || !strings.Contains(err.Error(), spoolDir(dir, "gone")) {
		t.Errorf("%v", err)
	}
	newNAS(t, f.acctAddr()).exchange(acctOf(1, "a", acctStart))
	if !spool.Exists(spoolDir(dir, "here")) || f.s.options.Config.Name != "here" {
		t.Error("it was renamed all the same")
	}
}
