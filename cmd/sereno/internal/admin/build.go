package admin

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Build says which program this is.
type Build struct {
	Version   string // "0.1.0", or "devel"
	Commit    string // short hash, with "-dirty" if the tree was changed; "unknown"
	Date      string // RFC 3339, of the commit or the build; "unknown"
	GoVersion string // "go1.26.0"
}

// String is the line that `sereno version` prints.
func (b Build) String() string {
	return fmt.Sprintf("sereno %s (%s, %s, %s)", b.Version, b.Commit, b.Date, b.GoVersion)
}

// ReadBuild is the build as the linker was told (-ldflags -X), completed with what the
// Go toolchain noted in the binary. Empty arguments were not told.
func ReadBuild(version, commit, date string) Build {
	info, _ := debug.ReadBuildInfo()
	return completeBuild(Build{Version: version, Commit: commit, Date: date, GoVersion: runtime.Version()}, info)
}

func completeBuild(b Build, info *debug.BuildInfo) Build {
	noted := map[string]string{}
	module := ""
	if info != nil {
		module = info.Main.Version
		for _, s := range info.Settings {
			noted[s.Key] = s.Value
		}
	}
	if module == "(devel)" {
		module = ""
	}
	if b.Commit == "" && noted["vcs.revision"] != "" {
		b.Commit = noted["vcs.revision"][:min(12, len(noted["vcs.revision"]))]
		if noted["vcs.modified"] == "true" {
			b.Commit += "-dirty"
		}
	}
	b.Version = cmp.Or(b.Version, module, "devel")
	b.Commit = cmp.Or(b.Commit, "unknown")
	b.Date = cmp.Or(b.Date, noted["vcs.time"], "unknown")
	return b
}
