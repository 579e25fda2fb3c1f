package radiusfront

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sereno/proxy/radwire"
)

// What is hidden in an accounting record under the NAS's secret (a few vendors do that)
// is hidden anew, under a key of the spool, before it is stored: the NAS may have another
// secret, or be gone from the configuration, when the record is delivered. The key lies
// beside the records, as secret as they are; nothing stands on disk in the plain.

const sealLen = 32

// readSeal reads the spool's key in its directory, or makes one.
func readSeal(dir string) ([]byte, error) {
	path := filepath.Join(dir, "key")
	key, err := os.ReadFile(path)
	switch {
	case err == nil && len(key) == sealLen:
		return key, nil
	case err == nil:
		return nil, fmt.Errorf("%s has %d bytes, not %d", path, len(key), sealLen)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	key = make([]byte, sealLen)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	return key, replaceFile(path, key)
}

// sealed copies a record's packet, from Walk, into the worker's scratch with what it hides
// under the spool's key. ok is false where nothing is hidden, or there is no key.
func (w *worker) sealed(f *flight, p []byte) (out []byte, ok bool) {
	key := w.service.seal.Load()
	if key == nil {
		return p, false
	}
	w.attrs = append(w.attrs[:0], p...)
	if w.seal == nil {
		w.seal = radwire.NewSecret(*key)
	}
	if !radwire.Rehide(w.attrs, f.secret, w.seal) {
		return p, false
	}
	return w.attrs, true
}
