package radiusfront

import (
	"os"
	"path/filepath"
	"testing"
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
		o := f.opts
		o.Config.Name = name
		if err := f.s.Update(o); err != nil {
			t.Fatal(err)
		}
	}
	newNAS(t, f.acctAddr()).exchange(acctOf(2, "b", acctStart))
	f.s.learnt.dirty.Store(true)
	f.stop()

	links, _ := filepath.Glob(filepath.Join(dir, "spool", "*"))
	if len(links) != 2 {
		t.Errorf("the spool directory holds %v", links)
	}
	if _, err := os.Stat(learntPath(dir, "fibre")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(learntPath(dir, was)); err == nil {
		t.Error("what was learnt is there under the old name too")
	}
	backend.setAnswer(accept)
	s := withSpool(dir, setup{backends: []*server{backend}})
	with := s.config
	s.config = func(c *Config) {
		if with != nil {
			with(c)
		}
		c.Name = "fibre"
	}
	g := newFront(t, s)
	g.untilSpool("delivery", func(s *SpoolStats) bool { return s.Delivered == 2 })
	links, _ = filepath.Glob(filepath.Join(dir, "spool", "*"))
	if len(links) != 1 || filepath.Base(links[0]) != "fibre" {
		t.Errorf("the spool directory holds %v", links)
	}
}
