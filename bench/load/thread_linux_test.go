package load

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestPreciseGivesItsThreadBack: what was started by the thread that a generator had to itself outlives the generator.
func TestPreciseGivesItsThreadBack(t *testing.T) {
	for range 3 { // the process's first thread never ends
		cmd := exec.Command("sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		started, ended := make(chan error), make(chan struct{})
		go func() {
			defer precise()()
			started <- cmd.Start()
		}()
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = cmd.Wait() // it is killed
			close(ended)
		}()
		select {
		case <-ended:
			t.Error("it has ended with the thread")
		case <-time.After(100 * time.Millisecond):
		}
		_ = cmd.Process.Kill() // it may have ended
		<-ended
	}
}
