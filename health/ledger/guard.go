package ledger

import (
	"errors"
	"fmt"
	"runtime/debug"
)

var errDamaged = errors.New("the file is damaged")

// guard runs what reads the file. bbolt maps it into memory and trusts it: a page
// that is missing or wrong is a fault or a panic there, and an error here.
func guard(f func() error) (err error) {
	old := debug.SetPanicOnFault(true) // of this goroutine alone
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	return f()
}

// touch is guard for the open file. Damage is remembered: what bbolt holds in memory may
// be wrong after it, even its locks, so that nothing touches the file again.
func (l *Ledger) touch(f func() error) error {
	if l.damaged != nil {
		return l.damaged
	}
	err := guard(f)
	if errors.Is(err, errDamaged) {
		l.damaged = err
	}
	return err
}

// replace sets the damaged file aside and begins new books, which know what every object
// is in now.
func (l *Ledger) replace() error {
	aside, err := setAside(l.path, l.now)
	if err != nil {
		return err
	}
	db, err := openFile(l.path, false)
	if err != nil {
		return err
	}
	l.warn(fmt.Sprintf("the ledger %s: %v; it is kept as %s, and new books are begun", l.path, l.damaged, aside))
	l.db, l.damaged = db, nil // the old one is left as it is: to close it would touch it
	waits := map[*book]bool{}
	for i := range l.unsaved {
		waits[l.unsaved[i].book] = true
	}
	for _, b := range l.books {
		b.entries, b.first = 0, l.now
		if !waits[b] {
			l.unsaved = append(l.unsaved, change{b, entry{at: l.now, state: b.last.state, cause: b.last.cause}})
		}
	}
	return nil
}
