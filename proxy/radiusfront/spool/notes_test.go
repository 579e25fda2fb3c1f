package spool

import (
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestR42AnEndIsNotedWithin50ms: what was delivered longer ago than that, or before the disk began to sync what it is
// given, does not come again after a crash.
func TestR42AnEndIsNotedWithin50ms(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir)
		mustAppend(t, s, record(1, 1), record(2, 2))
		first, _ := s.Next(1)
		s.Done(first)
		over := time.Now()
		time.Sleep(noteInterval)
		synctest.Wait()
		left, err := Read(copyDir(t, dir)) // as a crash leaves it
		if err != nil {
			t.Fatal(err)
		}
		if got := walked(t, left, 0, false); len(got) != 1 || got[0].ID != 2 || left.Noted.Before(over.Truncate(0)) {
			t.Errorf("%v after the first was delivered, with the second, are left %+v, noted up to %v", noteInterval, got, left.Noted)
		}
		if err := left.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// heldFile is a file whose syncs take as long as a test wants.
type heldFile struct {
	file
	syncing, end chan struct{}
}

func (f *heldFile) Sync() error {
	f.syncing <- struct{}{}
	<-f.end
	return f.file.Sync()
}

// TestR40ADiskThatHangsTakesNothing: after two seconds that is known, and it is over when the disk answers.
func TestR40ADiskThatHangsTakesNothing(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		syncing, end := make(chan struct{}, 10), make(chan struct{}, 10)
		s := open(t, dir, func(o *Options) {
			o.create = func(in *os.Root, name string) (file, error) {
				f, err := createFile(in, name)
				return &heldFile{f, syncing, end}, err
			}
		})
		stored := make(chan error, 1)
		if err := s.Submit(record(1, 1), func(_ Ref, err error) { stored <- err }); err != nil {
			t.Fatal(err)
		}
		<-syncing
		time.Sleep(hangTime)
		if err := s.Submit(record(2, 2), nil); err != nil || !s.Accepts() || s.Stats().Error != nil {
			t.Errorf("after %v: %v, %+v", hangTime, err, s.Stats())
		}
		time.Sleep(time.Millisecond)
		if err := s.Submit(record(3, 3), nil); err != ErrHangs || s.Accepts() || s.Stats().Error != ErrHangs {
			t.Errorf("after more than that: %v, %+v", err, s.Stats())
		}
		if n := s.Stats().Refused; n != [numClasses]uint64{} {
			t.Errorf("%v were refused for want of room", n)
		}
		close(end)
		if err := <-stored; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		time.Sleep(time.Hour) // it rests: that is no hanging
		if err := s.Append(record(4, 4)); err != nil || !s.Accepts() || s.Stats().Records != 3 {
			t.Errorf("after it answered: %v, %+v", err, s.Stats())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestR42AnEndDuringASyncIsInTheNextWrite: however long the disk takes.
func TestR42AnEndDuringASyncIsInTheNextWrite(t *testing.T) {
	dir := t.TempDir()
	syncing, end := make(chan struct{}, 10), make(chan struct{}, 10)
	s := open(t, dir, func(o *Options) {
		o.create = func(in *os.Root, name string) (file, error) {
			f, err := createFile(in, name)
			return &heldFile{f, syncing, end}, err
		}
	})
	submit := func(n int) {
		t.Helper()
		if err := s.Submit(record(uint64(n), n), nil); err != nil {
			t.Fatal(err)
		}
		<-syncing
	}
	submit(1)
	end <- struct{}{}
	until(t, "the first record", func() bool { return s.Stats().Stored == 1 })
	submit(2)
	d, ok := s.Next(1)
	if !ok || number(d.Data) != 1 {
		t.Fatalf("%+v", d)
	}
	s.Done(d)                                                                        // during the sync of the second
	if st := s.Stats(); st.Delivered != 1 || s.DamagedFiles() != 0 || !s.Accepts() { // who looks waits for no disk (R45)
		t.Errorf("%+v", st)
	}
	if err := s.Submit(record(3, 3), nil); err != nil {
		t.Fatal(err)
	}
	end <- struct{}{}
	<-syncing // of the third: it is written, and not synced
	left, err := Read(copyDir(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if got := walked(t, left, 0, false); len(got) != 2 || got[0].ID != 2 || got[1].ID != 3 {
		t.Errorf("a kill here leaves %+v", got)
	}
	if err := left.Close(); err != nil {
		t.Error(err)
	}
	for range 5 {
		end <- struct{}{}
	}
}

// TestR42ALateAnswerTakesARecordBack: whatever became of the record meanwhile.
func TestR42ALateAnswerTakesARecordBack(t *testing.T) {
	for name, ends := range map[string]func(s *Spool, d *Delivery){
		"set aside before": func(s *Spool, d *Delivery) { s.SetAside(d); s.Cancel(d.Ref()) },
		"set aside after":  func(s *Spool, d *Delivery) { s.Cancel(d.Ref()); s.SetAside(d) },
		"sent again after": func(s *Spool, d *Delivery) { s.Cancel(d.Ref()); s.Again(d, time.Hour, true) },
	} {
		s := open(t, t.TempDir())
		mustAppend(t, s, record(1, 1), record(1, 2))
		d, _ := s.Next(1)
		ends(s, d)
		if st := s.Stats(); st.Records != 1 || st.Aside != 0 || st.Cancelled != 1 {
			t.Errorf("%s: %+v", name, st)
		}
		if next, ok := s.Next(1); !ok || number(next.Data) != 2 {
			t.Errorf("%s: its session does not go on: %+v", name, next)
		}
	}
}
