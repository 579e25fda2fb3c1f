package lab

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// wallClock sets the wall clock (CLOCK_REALTIME) of one process, and of no other: the machine's own belongs to
// everybody, a time namespace has none of its own, and libfaketime cannot reach a static binary. A program asks the
// kernel's code in its own memory (the vDSO) for the time, and a process's copy of that can be rewritten: it asks the
// kernel instead, and adds a number of seconds that step changes. The monotonic clock stays as it is, as it does when a
// machine's clock is set.
type wallClock struct {
	pid    int
	offset int64 // where in the process's memory the seconds are
}

// errNoClock says that this processor's code is not known here.
var errNoClock = errors.New("a process's own clock can be set on amd64 only")

// clockCode is clock_gettime by system call, and the addition to what it gives for CLOCK_REALTIME (0). The seconds
// follow it.
var clockCode = []byte{
	0xb8, 0xe4, 0x00, 0x00, 0x00, // mov eax, 228 (clock_gettime)
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi
	0x75, 0x0a, // jnz to ret
	0x48, 0x8b, 0x0d, 0x06, 0x00, 0x00, 0x00, // mov rcx, [the seconds]
	0x48, 0x01, 0x0e, // add [rsi], rcx
	0xc3,       // ret
	0x90, 0x90, // so that the seconds are aligned: they change at once
}

// newWallClock takes over the clock of a process.
func newWallClock(pid int) (*wallClock, error) {
	if runtime.GOARCH != "amd64" {
		return nil, errNoClock
	}
	begin, end, err := vdso(pid)
	if err != nil {
		return nil, err
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	image := make([]byte, end-begin)
	if _, err := mem.ReadAt(image, begin); err != nil {
		return nil, fmt.Errorf("reading the vDSO of process %d: %w", pid, err)
	}
	entry, err := clockEntry(image)
	if err != nil {
		return nil, err
	}
	// The code has its place behind the image, in the rest of its last page; the entry jumps there.
	place := int64(len(image)) - 64
	if len(bytes.Trim(image[place:], "\x00")) > 0 || place <= entry {
		return nil, errors.New("the vDSO has no room for more code")
	}
	jump := binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(place-(entry+5)))
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return nil, err
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	if err := outside(pid, begin+entry, begin+entry+5); err != nil {
		return nil, err
	}
	for _, w := range []struct {
		text []byte
		at   int64
	}{{clockCode, begin + place}, {jump, begin + entry}} {
		if _, err := mem.WriteAt(w.text, w.at); err != nil {
			return nil, fmt.Errorf("writing the vDSO of process %d: %w", pid, err)
		}
	}
	return &wallClock{pid, begin + place + int64(len(clockCode))}, nil
}

// set makes the process's wall clock as much ahead of the machine's as by, in whole seconds.
func (c *wallClock) set(by time.Duration) error {
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", c.pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	_, err = mem.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(int64(by/time.Second))), c.offset)
	return err
}

// vdso gives where a process has it.
func vdso(pid int) (begin, end int64, err error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if !strings.HasSuffix(lines.Text(), "[vdso]") {
			continue
		}
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x", &begin, &end); err != nil {
			return 0, 0, err
		}
		return begin, end, nil
	}
	return 0, 0, fmt.Errorf("process %d has no vDSO", pid)
}

// clockEntry is where in the image clock_gettime begins.
func clockEntry(image []byte) (int64, error) {
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, fmt.Errorf("the vDSO: %w", err)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return 0, fmt.Errorf("the vDSO: %w", err)
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			return int64(s.Value), nil
		}
	}
	return 0, errors.New("the vDSO has no clock_gettime")
}

// outside waits until a process stands still, and demands that none of its threads stands between two addresses.
func outside(pid int, from, to int64) error {
	deadline := time.Now().Add(time.Second)
	for {
		busy, err := threadsWithin(pid, from, to)
		if err != nil || !busy {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not stand still", pid)
		}
		time.Sleep(time.Millisecond)
	}
}

// threadsWithin says whether a thread still runs, or stands between two addresses.
func threadsWithin(pid int, from, to int64) (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	if err != nil {
		return false, err
	}
	for _, thread := range threads {
		file, err := os.Open(thread)
		if err != nil {
			continue // it has ended
		}
		text, err := io.ReadAll(file)
		_ = file.Close() // read only
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text))
		if len(fields) < 2 {
			return true, nil // "running"
		}
		at, err := strconv.ParseInt(strings.TrimPrefix(fields[len(fields)-1], "0x"), 16, 64)
		if err != nil || at > from && at < to {
			return true, nil
		}
	}
	return false, nil
}
