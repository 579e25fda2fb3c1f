package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"sereno/config"
)

const (
	configVariable = "SERENO_CONFIG"
	defaultConfig  = "/etc/sereno/sereno.yaml"
)

// ConfigFlag gives a command the flag -c and returns what finds the configuration's path
// when the command runs: the flag, else $SERENO_CONFIG, else /etc/sereno/sereno.yaml.
func ConfigFlag(cmd *cobra.Command) func() string {
	path := cmd.Flags().StringP("config", "c", "", "configuration `FILE` (default $"+configVariable+", else "+defaultConfig+")")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // the flag is there
	return func() string { return cmp.Or(*path, os.Getenv(configVariable), defaultConfig) }
}

// LoadConfig loads a configuration and writes its errors and warnings to the command's
// stderr, one on a line. If there are errors, it returns one with exit code 2 that says
// nothing more.
func LoadConfig(cmd *cobra.Command, path string, o config.Options) (*config.Config, *config.Report, error) {
	loaded, report := config.Load(path, o)
	for _, list := range [][]config.Problem{report.Errors, report.Warnings} {
		for _, problem := range list {
			note(cmd, clean(problem.String()))
		}
	}
	if report.Err() != nil {
		return nil, report, Exit(Usage, nil)
	}
	return loaded, report, nil
}

// socketFlag gives a command the flags -c and --socket and returns what finds the socket.
func socketFlag(cmd *cobra.Command) func() (string, error) {
	file := ConfigFlag(cmd)
	socket := cmd.Flags().String("socket", "", "`PATH` of the node's socket (default: admin.socket of the configuration)")
	_ = cmd.MarkFlagFilename("socket")
	return func() (string, error) {
		if *socket != "" {
			return *socket, nil
		}
		return socketOf(file())
	}
}

// socketOf is admin.socket of a configuration. The configuration may be wrong in other
// places, or name files that only the node may read: an operator in the middle of a change
// must still reach the node.
func socketOf(path string) (string, error) {
	loaded, report := config.Load(path, config.Options{NoFiles: true})
	var socket string
	if loaded != nil {
		socket = loaded.Admin.Socket
	} else {
		var err error
		if socket, err = glanceSocket(path); err != nil {
			if len(report.Errors) > 0 {
				err = errors.New(report.Errors[0].String())
			}
			return "", Exit(Usage, fmt.Errorf("%w\nthe node's socket cannot be told from the configuration: name another with -c FILE, or the socket with --socket PATH", err))
		}
	}
	if socket == "" {
		return "", fmt.Errorf("admin.socket is off in %s: there is no way to the node from here", path)
	}
	return socket, nil
}

// glance is the part of a configuration that tells the socket.
type glance struct {
	Admin struct {
		Socket *string `yaml:"socket"`
	} `yaml:"admin"`
	Include []string `yaml:"include"`
}

// glanceSocket reads admin.socket of a configuration that is wrong elsewhere, or of a file
// that it includes; the default if none has it.
func glanceSocket(path string) (string, error) {
	main, err := glanceAt(path)
	if err != nil {
		return "", err
	}
	files, looks := []string{path}, []glance{main}
	for _, pattern := range main.Include {
		found, err := filepath.Glob(beside(path, pattern))
		if err != nil {
			return "", fmt.Errorf("include %q: %w", pattern, err)
		}
		for _, file := range found {
			look, err := glanceAt(file)
			if err != nil {
				return "", err
			}
			files, looks = append(files, file), append(looks, look)
		}
	}
	for i, look := range looks {
		if look.Admin.Socket != nil {
			return beside(files[i], *look.Admin.Socket), nil
		}
	}
	return config.Default().Admin.Socket, nil
}

// maxGlance is the largest file that is looked at, in bytes.
const maxGlance = 16 << 20

func glanceAt(path string) (glance, error) {
	var look glance
	if info, err := os.Stat(path); err == nil && info.Size() > maxGlance {
		return look, fmt.Errorf("%s is too large for a configuration", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return look, fmt.Errorf("reading the configuration: %w", err)
	}
	if err := yaml.Unmarshal(text, &look); err != nil {
		return look, fmt.Errorf("reading %s: not YAML", path)
	}
	return look, nil
}

// beside is a path relative to the file that names it.
func beside(file, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(file), path)
}
