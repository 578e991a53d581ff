package caddylti

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-lti/lti/lti"
	"github.com/caddy-lti/lti/nrps"
)

// rosterForms are those that a roster may be served in, by the ending of its path.
var rosterForms = map[string]*form{".csv": formCSV, ".json": formJSON}

// checkRosterPath refuses a path at which no roster can be.
func checkRosterPath(p string) error {
	if c := classify(p); c.odd || c.path != p || strings.ContainsAny(p, "*{") || rosterForms[path.Ext(p)] == nil {
		return fmt.Errorf("roster %q: expected a path that ends in .csv or .json, such as /members.csv", p)
	}
	return nil
}

const (
	defaultRosterCache = caddy.Duration(time.Minute)
	maxRosterCache     = caddy.Duration(time.Hour)
)

func checkRosterCache(d caddy.Duration) error {
	if d < 0 || d > maxRosterCache {
		return fmt.Errorf("roster_cache is %s, expected at most %s", time.Duration(d), time.Duration(maxRosterCache))
	}
	return nil
}

func (h *Handler) provisionRoster() error {
	for i, p := range h.Roster {
		if err := checkRosterPath(p); err != nil {
			return err
		}
		if h.under(p) {
			return fmt.Errorf("roster %q: expected a path outside of %s", p, h.Base)
		}
		if slices.Contains(h.Roster[:i], p) {
			return fmt.Errorf("roster %s is there twice", p)
		}
	}
	if h.RosterCache == nil {
		return nil
	}
	return checkRosterCache(*h.RosterCache)
}

// rosterCache is how long a roster is kept.
func (h *Handler) rosterCache() time.Duration {
	if h.RosterCache == nil {
		return time.Duration(defaultRosterCache)
	}
	return time.Duration(*h.RosterCache)
}

// serveRoster answers instructors with the roster of their course as a file: all
// of it, or an error. Whatever is public, this is not.
func (h *Handler) serveRoster(w http.ResponseWriter, r *http.Request, at string) error {
	ref := new(refusal)
	refuse := func(err error) error {
		if r.Context().Err() != nil {
			return nil //nolint:nilerr // nobody is listening
		}
		ref.err = err
		return h.refuse(w, r, ref)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return refuse(lti.Refuse(lti.CodeMethodNotAllowed, "%s", lti.Quote(r.Method)))
	}
	v, err := h.visit(r)
	switch {
	case err != nil:
		return refuse(err)
	case v == nil:
		return refuse(&lti.Error{Code: lti.CodeSessionMissing})
	}
	ref.platform = v.facts.Platform
	switch {
	case len(h.roles) > 0 && !v.facts.hasRole(h.roles):
		return refuse(lti.Refuse(lti.CodeRoleRefused, "none of the person's roles is allowed here"))
	case !v.facts.hasRole(instructorRoles):
		return refuse(lti.Refuse(lti.CodeRoleRefused, "the roster of a course is for its instructors"))
	}
	as := rosterForms[path.Ext(at)]
	headers := func() {
		hdr := w.Header()
		hdr.Set("Content-Type", as.mediaType)
		hdr.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(at)}))
		hdr.Set("Cache-Control", "no-store")
		hdr.Set("X-Content-Type-Options", "nosniff")
		hdr.Set("Cross-Origin-Resource-Policy", "same-origin")
	}
	if r.Method == http.MethodHead {
		headers()
		return nil // nobody is asked for what nobody reads
	}
	of, err := h.courseOf(v.facts)
	if err != nil {
		return refuse(rosterRefusal(err, ref))
	}
	all, part, err := h.roster(r, of, nrps.Filter{})
	if err != nil {
		return refuse(rosterRefusal(err, ref))
	}
	if all != nil {
		headers()
		return all.serve(w, r, as)
	}
	defer part.close()
	var kept spool
	defer kept.close()
	for line, err := range part.all() {
		if err != nil {
			return refuse(rosterRefusal(rosterProblem(err), ref))
		}
		if err := kept.add(line); err != nil {
			return refuse(unavailable(err))
		}
	}
	part.close() // others may want to ask the platform
	head, err := part.head()
	if err != nil {
		return err
	}
	in, err := kept.reader()
	if err != nil {
		return refuse(unavailable(err))
	}
	headers()
	out := newPatient(w)
	defer out.rest()
	if err = as.write(out.Writer, head, part.standing(in)); err == nil {
		err = out.Flush()
	}
	if err != nil {
		if !out.gone {
			h.logger.Error("what was read of a roster could not be read again, and the answer was cut off", zap.String("platform", ref.platform), zap.Error(err))
		}
		panic(http.ErrAbortHandler)
	}
	return nil
}

// rosterRefusal makes the refusal of a call one of the site.
func rosterRefusal(err error, ref *refusal) error {
	p, ok := errors.AsType[*problem](err)
	if !ok {
		return err
	}
	ref.notes = []string{p.detail}
	if p.status == http.StatusConflict {
		return &lti.Error{Code: lti.CodeRosterMissing, Detail: p.detail, Err: p.err}
	}
	return &lti.Error{Code: lti.CodeRosterFailed, Detail: p.detail, Err: p.err}
}

const (
	spoolMemory = 4 << 20
	maxSpool    = 1 << 30
)

var errSpool = errors.New("the roster takes more room than any should")

// spool keeps the lines of a roster until it is known that it is whole: in memory,
// and what does not fit there in a file that has no name.
type spool struct {
	buf  bytes.Buffer
	size int
	file *os.File
	name string // if the file has one
}

func (s *spool) add(line []byte) error {
	if s.size += len(line); s.size > maxSpool {
		return errSpool
	}
	s.buf.Write(line)
	if s.buf.Len() < spoolMemory {
		return nil
	}
	return s.spill()
}

func (s *spool) spill() (err error) {
	if s.file == nil {
		if s.file, err = os.CreateTemp("", "caddylti-"); err != nil { // for this user only
			return err
		}
		if os.Remove(s.file.Name()) != nil { // Windows keeps the names of open files
			s.name = s.file.Name()
		}
	}
	_, err = s.buf.WriteTo(s.file)
	return err
}

// reader returns all that was added, once.
func (s *spool) reader() (io.Reader, error) {
	if s.file == nil {
		return &s.buf, nil
	}
	if err := s.spill(); err != nil {
		return nil, err
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return s.file, err
}

func (s *spool) close() {
	if s.file == nil {
		return
	}
	_ = s.file.Close()
	if s.name != "" {
		_ = os.Remove(s.name)
	}
}
