package radiusfront

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
)

const (
	survivalFlush   = time.Second // what a crash may lose; a power loss somewhat more
	survivalPrune   = time.Minute
	survivalKeyLen  = 32
	maxSurvivalLine = 16 << 10 // of attributes of 4096 bytes and a name of 253, in base64
	survivalSlack   = 1 << 20  // what the journal may hold beyond twice what is alive
)

// survivorFile is the journal of known users: a line for each change, the last one of a
// user counts. A line is the HMAC-SHA-256 of the rest, in hex, a space, and a
// survivorLine as JSON. So a line that was changed, or that another node wrote, does not
// verify; then nothing of the file counts, since the line may have said that somebody is
// forgotten.
type survivorFile struct {
	path string
	f    *os.File // nil: to be opened, or written anew
	size int64
	live int64 // size when it was written anew
}

// survivorLine is one change. Without a MAC the user is forgotten.
type survivorLine struct {
	Pool  string `json:"pool"`
	User  []byte `json:"user"`
	At    int64  `json:"at,omitempty"` // Unix seconds
	Salt  []byte `json:"salt,omitempty"`
	MAC   []byte `json:"mac,omitempty"`
	Attrs []byte `json:"attrs,omitempty"`
}

func survivalPath(dir, service string) string {
	return filepath.Join(dir, "radius-survival-"+url.PathEscape(service)+".journal")
}

func survivalKeyPath(dir, service string) string {
	return filepath.Join(dir, "radius-survival-"+url.PathEscape(service)+".key")
}

// readKey reads the service's key, or makes one.
func readSurvivalKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil && len(key) == survivalKeyLen {
		return key, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key = make([]byte, survivalKeyLen)
	_, _ = rand.Read(key)              // never fails (crypto/rand)
	return key, replaceFile(path, key) // os.CreateTemp: mode 0600
}

// sign appends the line of a change.
func signSurvivor(dst []byte, secret []byte, l *survivorLine) ([]byte, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return dst, err
	}
	dst = hex.AppendEncode(dst, lineMAC(secret, text))
	dst = append(dst, ' ')
	dst = append(dst, text...)
	return append(dst, '\n'), nil
}

func lineMAC(secret, text []byte) []byte {
	h := hmac.New(sha256.New, secret)
	_, _ = h.Write([]byte("line\x00")) // never fails (hash.Hash), and no password's MAC begins like that
	_, _ = h.Write(text)
	return h.Sum(nil)
}

var errSurvivor = errors.New("not a line of this node's survival journal")

// parseSurvivor reads a line, without its end.
func parseSurvivor(secret, line []byte) (l survivorLine, err error) {
	mac, text, ok := bytes.Cut(line, []byte(" "))
	var sum [sha256.Size]byte
	if !ok || hex.DecodedLen(len(mac)) != len(sum) {
		return l, errSurvivor
	}
	if _, err := hex.Decode(sum[:], mac); err != nil || !hmac.Equal(sum[:], lineMAC(secret, text)) {
		return l, errSurvivor
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return l, errSurvivor
	}
	if l.MAC != nil && (len(l.MAC) != sha256.Size || len(l.Salt) != saltLen || !wellFormed(l.Attrs)) || len(l.User) == 0 {
		return l, errSurvivor
	}
	return l, nil
}

// wellFormed tells whether attrs can be walked.
func wellFormed(attrs []byte) bool {
	for len(attrs) > 0 {
		if len(attrs) < 2 || attrs[1] < 2 || int(attrs[1]) > len(attrs) {
			return false
		}
		attrs = attrs[attrs[1]:]
	}
	return true
}

// open turns the store on: it reads what is on disk in dir, or keeps everything in memory
// if dir is "". An error is told and the store begins empty.
func (s *survivors) open(dir, service string, now time.Time, log *zap.Logger) {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secret != nil {
		return
	}
	if dir == "" {
		s.secret = make([]byte, survivalKeyLen)
		_, _ = rand.Read(s.secret) // never fails (crypto/rand)
		return
	}
	secret, err := readSurvivalKey(survivalKeyPath(dir, service))
	if err != nil {
		s.stale = true
		log.Error("survival is off: its key can be neither read nor made", zap.Error(err))
		return
	}
	s.secret, s.file = secret, &survivorFile{path: survivalPath(dir, service)}
	if s.stale {
		if err := removeIfThere(s.file.path); err != nil {
			s.secret, s.file = nil, nil
			log.Error("survival is off: what was known before cannot be removed from disk", zap.Error(err))
			return
		}
		s.stale = false
	}
	damaged, torn, err := s.load(now)
	if torn {
		log.Info("the end of the survival journal is torn: it was not finished when the node stopped", zap.Int("known", s.count))
	}
	if err == nil && damaged == 0 {
		return
	}
	// Who knows what the damaged lines said: that somebody was rejected, perhaps.
	s.clear()
	aside := s.file.path + ".damaged"
	if renamed := os.Rename(s.file.path, aside); renamed == nil || errors.Is(renamed, fs.ErrNotExist) {
		log.Warn("the survival journal was changed, or is of another node: nobody is known until he has logged in again", zap.Int("lines", damaged),
			zap.String("kept_as", aside), zap.Error(err))
	}
}

// load replays the journal. damaged are lines that do not verify, torn a last one without
// an end. What a clock that was set back makes younger than it can be
// is left out.
func (s *survivors) load(now time.Time) (damaged int, torn bool, err error) {
	f, err := os.Open(s.file.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, maxSurvivalLine)
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return damaged, len(line) > 0, nil
		case errors.Is(err, bufio.ErrBufferFull):
			return damaged + 1, false, nil // no line of ours is that long
		case err != nil:
			return damaged, false, err
		}
		l, err := parseSurvivor(s.secret, line[:len(line)-1])
		if err != nil {
			damaged++
			continue
		}
		age := now.Unix() - l.At
		if l.MAC == nil || age < 0 {
			s.drop(s.key(l.Pool, l.User))
			continue
		}
		v := &survivor{user: l.User, attrs: l.Attrs, learned: int64(now.Sub(s.base)) - age*int64(time.Second)}
		copy(v.salt[:], l.Salt)
		copy(v.mac[:], l.MAC)
		s.put(s.key(l.Pool, l.User), v)
	}
}

// discard turns the store off and forgets everything, on disk too, also what an earlier
// process left: while it is off nobody notes who is rejected.
func (s *survivors) discard(dir, service string) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	s.secret = nil
	s.clear()
	s.mu.Unlock()
	if s.file != nil {
		s.file.close()
		s.file = nil
	}
	if dir == "" {
		return nil
	}
	s.stale = true
	path := survivalPath(dir, service)
	return errors.Join(removeIfThere(path), removeIfThere(path+".damaged"), removeIfThere(survivalKeyPath(dir, service)))
}

func removeIfThere(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil // of a read-only disk Remove says that it is one, whether the file is there or not
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// moveTo keeps it under another service's name from now on.
func (s *survivors) moveTo(dir, was, is string) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if s.file == nil {
		return nil
	}
	s.file.close() // and is written anew
	s.file.path = survivalPath(dir, is)
	err := os.Rename(survivalKeyPath(dir, was), survivalKeyPath(dir, is))
	return errors.Join(err, removeIfThere(survivalPath(dir, was)))
}

// flush brings to disk what has changed since the last one: at the end of the journal, or
// all that is known in its place where much of it is over. After an error the next one
// writes all.
func (s *survivors) flush(now time.Time) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if s.file == nil {
		return nil
	}
	whole := s.file.f == nil || s.file.size > 2*s.file.live+survivalSlack
	secret, lines := s.changes(whole, now)
	if len(lines) == 0 && !whole {
		return nil
	}
	var data []byte
	for i := range lines {
		var err error
		if data, err = signSurvivor(data, secret, &lines[i]); err != nil {
			return err
		}
	}
	if whole {
		return s.file.rewrite(data)
	}
	return s.file.append(data)
}

// changes takes what is to be written. It lets logins in between: what changes meanwhile is written the next time, too.
func (s *survivors) changes(whole bool, now time.Time) (secret []byte, lines []survivorLine) {
	s.mu.Lock()
	secret = s.secret
	changed := s.changed
	if len(changed) > 0 {
		s.changed = map[survivorKey][]byte{}
	}
	if whole {
		lines = make([]survivorLine, 0, s.count)
	}
	s.mu.Unlock()
	if whole {
		for i := range s.known {
			s.mu.Lock()
			for k, v := range s.known[i] {
				lines = append(lines, s.line(k, v, now))
			}
			s.mu.Unlock()
		}
		return secret, lines
	}
	for k, user := range changed {
		s.mu.Lock()
		v := s.part(k)[k]
		s.mu.Unlock()
		if v != nil { // what a survivor holds never changes
			lines = append(lines, s.line(k, v, now))
		} else {
			lines = append(lines, survivorLine{Pool: k.pool, User: user})
		}
	}
	return secret, lines
}

func (s *survivors) line(k survivorKey, v *survivor, now time.Time) survivorLine {
	age := (int64(now.Sub(s.base)) - v.learned) / int64(time.Second)
	return survivorLine{Pool: k.pool, User: v.user, At: now.Unix() - age, Salt: v.salt[:], MAC: v.mac[:], Attrs: v.attrs}
}

// keepSurvivors flushes and prunes now and then.
func (s *Service) keepSurvivors() {
	defer s.running.Done()
	t := time.NewTicker(survivalFlush)
	defer t.Stop()
	for turn := 1; ; {
		select {
		case <-s.stop:
			return // Close flushes, when no worker can learn any more
		case <-s.survivors.hurry:
		case <-t.C:
			if turn++; turn%int(survivalPrune/survivalFlush) == 0 {
				s.mu.Lock()
				age := s.options.Config.Survival.MaxAge
				s.mu.Unlock()
				s.survivors.prune(s.now(), int64(age))
			}
		}
		s.flushSurvivors()
	}
}

func (s *Service) flushSurvivors() {
	if err := s.survivors.flush(s.now()); err != nil {
		s.repeats.Line(zap.WarnLevel, "keeping the survival journal").Say(func() []zap.Field { return []zap.Field{zap.Error(err)} })
	}
}

// shut closes the file.
func (s *survivors) shut() {
	s.saving.Lock()
	defer s.saving.Unlock()
	if s.file != nil {
		s.file.close()
	}
}

func (j *survivorFile) close() {
	if j.f != nil {
		_ = j.f.Close() // what was to be synced was synced
		j.f = nil
	}
}

// rewrite puts data in the journal's place and opens it to go on.
func (j *survivorFile) rewrite(data []byte) error {
	j.close()
	if err := replaceFile(j.path, data); err != nil {
		j.empty()
		return err
	}
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	j.f, j.size, j.live = f, int64(len(data)), int64(len(data))
	return nil
}

// empty tries to leave nothing on a disk that takes nothing more: a user who was
// forgotten meanwhile must not come back with a restart.
func (j *survivorFile) empty() {
	if os.Truncate(j.path, 0) != nil {
		_ = os.Remove(j.path) // if that fails too, the disk takes nothing at all
	}
}

// append is synced: a subscriber who was rejected stays rejected over a power loss too.
func (j *survivorFile) append(data []byte) error {
	_, err := j.f.Write(data)
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		j.close()
		j.empty()
		return err
	}
	j.size += int64(len(data))
	return nil
}

// updateSurvival turns the store on or off as the configuration says. It is called with
// the service's mu held.
func (s *Service) updateSurvival() {
	name := s.options.Config.Name
	if s.options.Config.Survival.Mode != "off" {
		s.survivors.open(s.options.StateDir, name, s.now(), s.logger)
		return
	}
	if err := s.survivors.discard(s.options.StateDir, name); err != nil {
		s.logger.Error("survival is off, and what was known cannot be removed from disk", zap.Error(err))
	}
}
