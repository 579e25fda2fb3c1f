package radiusfront

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"
)

// rename makes what the service keeps on disk be found under its new name after
// the next start. What stands there under that name already is not touched. mu
// is held.
func (s *Service) rename(was, is string) {
	if s.options.StateDir == "" || was == is {
		return
	}
	err := errors.Join(s.learnt.moveTo(learntPath(s.options.StateDir, is)), s.survivors.moveTo(s.options.StateDir, was, is))
	if s.spool.Load() != nil {
		// Its files are open and in use: the new name leads to them until the next start.
		err = errors.Join(err, linkSpool(spoolDir(s.options.StateDir, was), spoolDir(s.options.StateDir, is)))
	}
	if err != nil {
		s.logger.Error("renaming what is kept on disk: a restart will not find it", zap.String("old_name", was), zap.Error(err))
	}
}

// linkSpool makes the directory of an open spool be found as is, too.
func linkSpool(was, is string) error {
	target, err := filepath.EvalSymlinks(was)
	if err != nil {
		return err
	}
	if err := removeLink(was); err != nil {
		return err
	}
	err = os.Symlink(filepath.Base(target), is)
	if errors.Is(err, fs.ErrExist) {
		if now, evalErr := filepath.EvalSymlinks(is); evalErr == nil && now == target {
			return nil // renamed back
		}
	}
	return err
}

// settleSpool gives a directory that linkSpool made known by another name that
// name. Nobody has it open.
func settleSpool(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSymlink == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks(dir)
	if err != nil || filepath.Dir(target) != filepath.Dir(dir) {
		return err // a link of somebody else
	}
	if err := os.Remove(dir); err != nil {
		return err
	}
	return os.Rename(target, dir)
}

func removeLink(path string) error {
	if info, err := os.Lstat(path); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return err
	}
	return os.Remove(path)
}
