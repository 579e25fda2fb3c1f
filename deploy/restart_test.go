package deploy_test

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const faultEnv = "SERENO_TEST_FAULT" // the end that this process shall meet

// TestO23SystemdStartsAgainWhatDidNotEndByItself: a node that a panic ended, a fault of Go's runtime, or the watchdog
// (systemd sends SIGABRT), is none of a wrong configuration, which the unit does not start again.
func TestO23SystemdStartsAgainWhatDidNotEndByItself(t *testing.T) {
	if fault := os.Getenv(faultEnv); fault != "" {
		meet(fault)
	}
	text, err := os.ReadFile("systemd/sereno.service")
	if err != nil {
		t.Fatal(err)
	}
	values := func(key string) (out []string) {
		for _, m := range regexp.MustCompile(`(?m)^`+key+`=(.*)$`).FindAllStringSubmatch(string(text), -1) {
			out = append(out, strings.Fields(m[1])...)
		}
		return out
	}
	if core := values("LimitCORE"); !slices.Equal(core, []string{"0"}) {
		t.Errorf("LimitCORE is %v: secrets would be on the disk", core)
	}
	kept := values("RestartPreventExitStatus")
	for _, fault := range []string{"panic", "runtime", "watchdog"} {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(values("Environment"), faultEnv+"="+fault)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !strings.Contains(string(out), "goroutine ") {
			t.Fatalf("%s: %v: %s", fault, err, out)
		}
		ended := exit.Sys().(syscall.WaitStatus)
		if ended.Exited() && slices.Contains(kept, strconv.Itoa(ended.ExitStatus())) {
			t.Errorf("%s: it ends with %d, after which systemd leaves it", fault, ended.ExitStatus())
		}
	}
}

// meet ends this process, as under the unit: without a core.
func meet(fault string) {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // less is always allowed
	switch fault {
	case "panic":
		go func() { panic("meant") }()
	case "runtime":
		new(sync.Mutex).Unlock()
	case "watchdog":
		_ = syscall.Kill(os.Getpid(), syscall.SIGABRT) // to oneself is always allowed
	}
	time.Sleep(time.Minute)
	os.Exit(0)
}
