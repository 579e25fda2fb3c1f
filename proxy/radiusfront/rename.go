package radiusfront

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"
)

// rename makes what the service learnt be found under its new name after the
// next start. What stands there under that name makes room. mu is held.
func (s *Service) rename(was, is string) {
	if s.options.StateDir == "" || was == is {
		return
	}
	if err := errors.Join(s.learnt.moveTo(learntPath(s.options.StateDir, is)), s.survivors.moveTo(s.options.StateDir, was, is)); err != nil {
		s.logger.Error("renaming what is kept on disk: a restart will not find it", zap.String("old_name", was), zap.Error(err))
	}
}

// renameSpool gives the spool's directory the service's new name, so that a new
// service can have the old one; the spool may be open. It refuses a name under
// which another service has left a spool. mu is held.
func (s *Service) renameSpool(was, is string) error {
	if s.options.StateDir == "" || was == is {
		return nil
	}
	from, to := spoolDir(s.options.StateDir, was), spoolDir(s.options.StateDir, is)
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("its spool cannot be renamed: %s is there already, of another service of that name; move it away (`sereno spool list --dir` says what is in it), or take another name", to)
	}
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("its spool cannot be renamed: %w", err)
	}
	if err := syncDir(filepath.Dir(to)); err != nil {
		return errors.Join(fmt.Errorf("its spool cannot be renamed: %w", err), os.Rename(to, from))
	}
	return nil
}
