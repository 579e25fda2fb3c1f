package demo

import "syscall"

// childAttributes: a process group of its own, and the child dies with the demo however that ends.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
