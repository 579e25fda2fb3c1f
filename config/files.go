package config

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// maxSecretFile bounds a file that holds a secret or two.
const maxSecretFile = 64 << 10

// files makes the paths of the configuration relative to the file that names
// them, looks whether the files are there, and reads the secrets.
func (l *loader) files(c *Config, k *checker) {
	c.NeighborPasswords = map[string]Secret{}
	c.visit(func(leaf leaf) bool {
		if (leaf.field.file || leaf.field.path) && leaf.value.String() != "" {
			leaf.value.SetString(resolve(l.fileOf(leaf.path, c.Path), leaf.value.String()))
		}
		return true
	})
	if l.options.NoFiles {
		return
	}
	c.visit(func(leaf leaf) bool {
		if leaf.field.file && leaf.value.String() != "" && !k.said[leaf.path] {
			k.file(leaf)
		}
		return true
	})
	k.secrets()
}

// fileOf is the file that a value stands in.
func (l *loader) fileOf(path, main string) string {
	if p, ok := l.decoder.values[path]; ok {
		return p.File
	}
	return main
}

// file checks that one file can be read, and that a secret one is not
// everybody's to read.
func (k *checker) file(l leaf) {
	name := l.value.String()
	// Not opened before this: a FIFO would wait for a writer.
	info, err := os.Stat(name)
	switch {
	case err != nil:
		k.fail(l.path, fmt.Sprintf("cannot read %s: %s", name, reason(err)))
		return
	case !info.Mode().IsRegular():
		k.fail(l.path, fmt.Sprintf("%s is not a regular file", name))
		return
	}
	f, err := os.Open(name)
	if err != nil {
		k.fail(l.path, fmt.Sprintf("cannot read %s: %s", name, reason(err)))
		return
	}
	_ = f.Close()
	if isSecretFile(l.pattern) && info.Mode().Perm()&0o004 != 0 {
		k.warning(l.path, fmt.Sprintf("%s can be read by everybody (mode %04o); chmod o-r", name, info.Mode().Perm()))
	}
}

// isSecretFile tells keys of files that hold secrets from those of public ones.
func isSecretFile(pattern string) bool {
	return strings.HasSuffix(pattern, "_file") || strings.HasSuffix(pattern, ".key")
}

// secrets reads the files that hold secrets into the configuration.
func (k *checker) secrets() {
	c := k.config
	if c.Admin.TokenFile != "" {
		c.AdminToken = Secret(k.oneLine("admin.token_file", c.Admin.TokenFile))
	}
	for i := range c.Pools {
		p, path := &c.Pools[i], fmt.Sprintf("pools[%d]", i)
		if probe := &p.Health.RADIUS; probe.PasswordFile != "" {
			// User-Password of RFC 2865 §5.2.
			probe.Password = k.shortLine(path+".health.radius.password_file", probe.PasswordFile, 128, "a User-Password")
		}
		for j := range p.Backends {
			if b := &p.Backends[j].RADIUS; b.SecretFile != "" {
				b.Secret = k.oneLine(fmt.Sprintf("%s.backends[%d].secret_file", path, j), b.SecretFile)
			}
		}
	}
	for i := range c.RADIUS {
		for j := range c.RADIUS[i].Clients {
			if cl := &c.RADIUS[i].Clients[j]; cl.SecretFile != "" {
				cl.Secret = k.lines(fmt.Sprintf("radius[%d].clients[%d].secret_file", i, j), cl.SecretFile, 2)
			}
		}
	}
	for i, n := range c.BGP.Neighbors {
		if n.PasswordFile != "" {
			// TCP_MD5SIG_MAXKEYLEN of tcp(7).
			password := k.shortLine(fmt.Sprintf("bgp.neighbors[%d].password_file", i), n.PasswordFile, 80, "TCP MD5")
			c.NeighborPasswords[n.Name] = Secret(password)
		}
	}
}

func (k *checker) oneLine(path, name string) string {
	if lines := k.lines(path, name, 1); len(lines) == 1 {
		return lines[0]
	}
	return ""
}

// shortLine is oneLine with a bound on the bytes, and who sets it.
func (k *checker) shortLine(path, name string, most int, taker string) string {
	line := k.oneLine(path, name)
	if len(line) > most {
		k.fail(path, fmt.Sprintf("the password in %s is %d bytes long; %s takes at most %d", name, len(line), taker, most))
	}
	return line
}

// lines reads a file of secrets, one on a line. Spaces inside a line belong to
// the secret; empty lines do not count.
func (k *checker) lines(path, name string, most int) []string {
	if k.said[path] || k.decoder.known(path) {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		k.fail(path, fmt.Sprintf("cannot read %s: %s", name, reason(err)))
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	switch {
	case err != nil:
		k.fail(path, fmt.Sprintf("cannot read %s: %s", name, reason(err)))
		return nil
	case len(data) > maxSecretFile:
		k.fail(path, fmt.Sprintf("%s is larger than %d KiB: not a file with a secret", name, maxSecretFile>>10))
		return nil
	}
	var out []string
	for line := range strings.SplitSeq(string(data), "\n") {
		if line = strings.TrimSuffix(line, "\r"); strings.TrimSpace(line) != "" {
			out = append(out, line)
		}
	}
	switch {
	case len(out) == 0:
		k.fail(path, name+" is empty: no secret in it")
	case len(out) > most:
		k.fail(path, fmt.Sprintf("%s has %d lines; at most %d", name, len(out), most))
		return nil
	}
	return out
}
