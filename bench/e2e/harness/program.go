package harness

// Run starts an installed program of the lab, which ends with it. The lab knows nothing of it: whoever runs it waits
// until it is ready.
func (l *Lab) Run(program string, args ...string) *Process {
	l.t.Helper()
	p := l.prepare(program, l.Program(program), args...)
	p.start()
	return p
}
