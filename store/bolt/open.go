package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/caddy-lti/lti/store"
)

const (
	// lockTimeout is how long Open waits for another process to let go.
	lockTimeout = time.Second

	// formatPrefix and formatVersion are what the meta bucket says of the file.
	formatPrefix  = "caddylti/"
	formatVersion = 1
)

var (
	metaBucket = []byte("meta")
	formatKey  = []byte("format")
	probeKey   = []byte("probe")
)

// Open opens the store in the file at path, and makes it, with its folder, if
// there is none. What would fail at the first launch fails here: a file that
// cannot be locked, read or written, and a disk that is full. The error names
// the file; match it with [ErrLocked], [ErrCorrupt] and [ErrNewerFormat].
func Open(path string, opts Options) (*Store, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.SweepInterval <= 0 {
		opts.SweepInterval = defaultSweepInterval
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("store file: %w", err)
	}
	fresh, err := inspect(path)
	if err != nil {
		return nil, fmt.Errorf("store file %s: %w", path, err)
	}
	db, err := open(path, fresh)
	if err != nil {
		return nil, fmt.Errorf("store file %s: %w", path, err)
	}
	s := &Store{
		path:   path,
		now:    opts.Now,
		db:     db,
		writes: make(chan *write),
		stop:   make(chan struct{}),
	}
	if err := s.setUp(); err != nil {
		err = fmt.Errorf("store file %s: %w", path, err)
		if cerr := s.Close(); cerr != nil {
			err = errors.Join(err, cerr)
		}
		if fresh {
			_ = os.Remove(path) // or the next start finds half a file
		}
		return nil, err
	}
	if fresh {
		syncDir(filepath.Dir(path))
	}
	s.wg.Go(s.writer)
	s.wg.Go(func() { s.sweeper(opts.SweepInterval) })
	return s, nil
}

// inspect tells whether there is no file at path yet, and makes the folder.
func inspect(path string) (fresh bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// The folder holds people's data: nobody else's business.
		return true, os.MkdirAll(filepath.Dir(path), 0o700)
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, errors.New("not a regular file")
	case info.Size() == 0:
		// bbolt would start afresh here, and hide that something was lost.
		return false, fmt.Errorf("%w: empty file; remove it if a fresh start is meant", ErrCorrupt)
	}
	return false, nil
}

// open opens or creates the database.
func open(path string, fresh bool) (*bbolt.DB, error) {
	var db *bbolt.DB
	var file *os.File
	panicked, err := guard(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:      lockTimeout,
			FreelistType: bbolt.FreelistMapType,
			NoStatistics: true,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				// Between inspect and here the file may have come or gone.
				if fresh {
					flag |= os.O_EXCL
				} else {
					flag &^= os.O_CREATE
				}
				var err error
				file, err = os.OpenFile(name, flag, mode)
				return file, err
			},
		})
		return err
	})
	switch {
	case err == nil:
		return db, nil
	case panicked && file != nil:
		// The lock would live as long as the mapping, which is out of reach.
		unlock(file)
		_ = file.Close()
	case fresh && file != nil:
		_ = os.Remove(path)
	}
	return nil, classify(err, fresh)
}

// classify gives an error of [bbolt.Open] a name and a reason.
func classify(err error, fresh bool) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, berrors.ErrTimeout), fresh && errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: probably another Caddy runs with it; "+
			"to change the configuration of a running Caddy use `caddy reload`", ErrLocked)
	case errors.Is(err, ErrCorrupt), errors.As(err, &errno):
		return err
	default:
		// What is not the system's complaint is bbolt's about the content.
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
}

// setUp checks that the file is ours and whole as far as can be told without
// reading all of it, makes the buckets of a new one, and proves that it can be
// written. The writer does not run yet.
func (s *Store) setUp() error {
	if _, err := guard(func() error { return s.db.View(s.verify) }); err != nil {
		return err
	}
	// Two transactions: the first needs space for a value of full size, the
	// second gives it back.
	probe := make([]byte, store.MaxValueLen)
	if err := s.update(func(tx *bbolt.Tx) (bool, error) {
		for _, name := range [][]byte{metaBucket, recordsBucket, expiryBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return false, err
			}
		}
		meta := tx.Bucket(metaBucket)
		if err := meta.Put(formatKey, []byte(formatPrefix+strconv.Itoa(formatVersion))); err != nil {
			return false, err
		}
		return true, meta.Put(probeKey, probe)
	}); err != nil {
		return fmt.Errorf("trial write: %w", err)
	}
	if err := s.update(func(tx *bbolt.Tx) (bool, error) {
		return true, tx.Bucket(metaBucket).Delete(probeKey)
	}); err != nil {
		return fmt.Errorf("trial write: %w", err)
	}
	return nil
}

// verify checks size, format and the edges of the two large buckets.
func (s *Store) verify(tx *bbolt.Tx) error {
	info, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if info.Size() < tx.Size() {
		return fmt.Errorf("%w: truncated, %d bytes of at least %d are left", ErrCorrupt, info.Size(), tx.Size())
	}
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		if k, _ := tx.Cursor().First(); k != nil {
			return fmt.Errorf("%w: another program's bbolt database", ErrCorrupt)
		}
		return nil // created, but not set up: nothing is lost
	}
	if err := checkFormat(meta.Get(formatKey)); err != nil {
		return err
	}
	for _, name := range [][]byte{recordsBucket, expiryBucket} {
		b := tx.Bucket(name)
		if b == nil {
			return fmt.Errorf("%w: bucket %s is missing", ErrCorrupt, name)
		}
		c := b.Cursor()
		c.First()
		c.Last()
	}
	return nil
}

func checkFormat(format []byte) error {
	number, ok := strings.CutPrefix(string(format), formatPrefix)
	version, err := strconv.Atoi(number)
	switch {
	case !ok, err != nil, version < 1:
		return fmt.Errorf("%w: unknown format %.40q", ErrCorrupt, format)
	case version > formatVersion:
		return fmt.Errorf("%w: it has format %d, this one knows formats up to %d; "+
			"use the newer version, or a copy of the file from before it", ErrNewerFormat, version, formatVersion)
	}
	return nil
}

// syncDir makes a new file's name durable, where the system can do that.
func syncDir(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	_ = d.Sync()
	_ = d.Close()
}
