package caddylti

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/nrps"
)

// rosters reports whether something of the configuration reads rosters.
func (h *Handler) rosters() bool { return h.API != nil || len(h.Roster) > 0 || h.showsNames() }

// rosterCourse finds the course that a call is about, for an instructor or a key.
func (h *Handler) rosterCourse(r *http.Request, c *caller) (*course, error) {
	if c.key == nil {
		if !c.instructor() {
			return nil, refuseAPI(http.StatusForbidden, problemForbidden, "the roster of a course is for instructors' launches and for keys")
		}
		return h.courseOf(c.visit.facts)
	}
	ready, err := h.app.open()
	if err != nil {
		return nil, unavailable(err)
	}
	sealed := r.URL.Query().Get("score_handle")
	if sealed == "" {
		return h.courseByQuery(r, ready, c, allowMembers)
	}
	d, err := h.handleOf(r, ready, c.key, sealed, allowMembers)
	if err != nil {
		return nil, err
	}
	return h.knownCourse(r, ready, d.Platform, d.Context)
}

// maxFilter bounds a parameter of a roster.
const maxFilter = 1 << 10

// rosterFilter reads what a call wants of a roster.
func rosterFilter(q url.Values) (f nrps.Filter, err error) {
	for _, param := range []struct {
		name string
		to   *string
	}{{"role", &f.Role}, {"status", &f.Status}, {"resource_link", &f.ResourceLinkID}} {
		switch vals := q[param.name]; {
		case len(vals) == 0:
			continue
		case len(vals) > 1, vals[0] == "", len(vals[0]) > maxFilter:
			return f, invalid(param.name, "expected one value of at most %d bytes, or none at all", maxFilter)
		default:
			*param.to = vals[0]
		}
		if err := f.Normalize(); err != nil {
			return f, invalid(param.name, "%s", err)
		}
	}
	return f, nil
}

// roster asks for the roster of a course, as its launch offered it.
func (h *Handler) roster(r *http.Request, at *course, f nrps.Filter) (*whole, *begun, error) {
	if at.Roster == "" {
		return nil, nil, refuseAPI(http.StatusConflict, problemService, "the launch names no roster: the platform's administrator has to let this tool read who is in a course (Names and Roles)")
	}
	access, err := h.app.access(at, at.Roster)
	if err != nil {
		return nil, nil, refuseAPI(http.StatusConflict, problemService, "%s", err)
	}
	host, err := httpx.Origin(at.Roster)
	if err != nil {
		return nil, nil, &problem{status: http.StatusBadGateway, code: problemPlatform, detail: "the URL of the roster in the launch is none", err: err}
	}
	want := &wanted{
		client: nrps.New(h.app.services.For(access), nrps.Endpoint{URL: at.Roster, Context: nrps.Context{ID: at.Context}}),
		filter: f, host: host,
		key: sha256.Sum256(fmt.Appendf(nil, "%x %q %q %q %q %q %q", at.Registration, at.Deployment, at.Context, at.Roster, f.Role, f.Status, f.ResourceLinkID)),
	}
	w, b, err := h.app.rosters.get(r.Context(), want, h.rosterCache(), asksAnew(r))
	switch {
	case err == nil:
		return w, b, nil
	case r.Context().Err() != nil:
		return nil, nil, r.Context().Err() // nobody is listening
	}
	return nil, nil, rosterProblem(err)
}

// rosterProblem is the refusal for a roster that could not be read.
func rosterProblem(err error) *problem {
	p, ok := errors.AsType[*problem](err)
	if !ok {
		p, _ = errors.AsType[*problem](platformProblem(err))
	}
	return p
}

// asksAnew reports whether the caller wants nothing that was kept (RFC 9111
// §5.2.1).
func asksAnew(r *http.Request) bool {
	for _, line := range r.Header["Cache-Control"] {
		for _, d := range directives(line) {
			if d = strings.ToLower(strings.TrimSpace(d)); d == "no-cache" || d == "no-store" || d == "max-age=0" {
				return true
			}
		}
	}
	return false
}

// form is a way to write a roster.
type form struct {
	mediaType string
	mark      string // in entity tags
	// write writes what comes of head, the JSON up to the members, and lines. It
	// stops at the first error.
	write func(out *bufio.Writer, head []byte, lines iter.Seq2[[]byte, error]) error
}

var (
	formJSON  = &form{"application/json", "j", writeRosterJSON}
	formLines = &form{"application/x-ndjson", "n", writeRosterLines}
)

func writeRosterJSON(out *bufio.Writer, head []byte, lines iter.Seq2[[]byte, error]) error {
	_, _ = out.Write(head) // out remembers an error
	sep := "\n"
	for line, err := range lines {
		if err != nil {
			return err
		}
		_, _ = out.WriteString(sep)
		if _, err := out.Write(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			return err
		}
		sep = ",\n"
	}
	_, err := out.WriteString("\n]}\n")
	return err
}

func writeRosterLines(out *bufio.Writer, _ []byte, lines iter.Seq2[[]byte, error]) error {
	n := 0
	for line, err := range lines {
		if err != nil {
			return err
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
		n++
	}
	_, err := fmt.Fprintf(out, "{\"complete\":true,\"count\":%d}\n", n)
	return err
}

// formOf chooses the form that the caller accepts.
func formOf(r *http.Request) *form {
	for _, line := range r.Header["Accept"] {
		for part := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "application/x-ndjson", "application/ndjson":
				if q := strings.ReplaceAll(params, " ", ""); q != "q=0" {
					return formLines
				}
			}
		}
	}
	return formJSON
}

// apiMembers answers with who is in the course.
func (h *Handler) apiMembers(w http.ResponseWriter, r *http.Request, c *caller, _ string) error {
	at, err := h.rosterCourse(r, c)
	if err != nil {
		return err
	}
	filter, err := rosterFilter(r.URL.Query())
	if err != nil {
		return err
	}
	all, part, err := h.roster(r, at, filter)
	if err != nil {
		return err
	}
	as := formOf(r)
	w.Header().Set("Content-Type", as.mediaType)
	w.Header().Add("Vary", "Accept")
	if all != nil {
		return all.serve(w, r, as)
	}
	defer part.close()
	head, err := part.head()
	if err != nil {
		return err
	}
	out := newPatient(w)
	defer out.rest()
	err = as.write(out.Writer, head, part.all())
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		return nil
	}
	if out.gone || r.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	h.logger.Error("a roster could not be read to its end, and the answer was cut off", zap.String("platform", at.Platform), zap.Error(err))
	if as == formLines {
		p := rosterProblem(err)
		_ = json.NewEncoder(out).Encode(struct {
			Complete bool   `json:"complete"`
			Code     string `json:"code"`
			Detail   string `json:"detail"`
		}{false, p.code, p.detail})
		return out.Flush()
	}
	// The connection is cut, so that nobody takes it for the whole.
	_ = out.Flush()
	panic(http.ErrAbortHandler)
}

// serve answers with a roster in a form, or with 304 if the caller has it.
func (all *whole) serve(w http.ResponseWriter, r *http.Request, as *form) error {
	hdr := w.Header()
	etag := `"` + as.mark + all.tag + `"`
	hdr.Set("Etag", etag)
	if etagMatches(r.Header["If-None-Match"], etag) {
		hdr.Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	var body bytes.Buffer
	out := bufio.NewWriter(&body)
	if err := as.write(out, all.head, all.all()); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	hdr.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(http.StatusOK)
	_, err := body.WriteTo(w)
	return err
}

// etagMatches compares as RFC 9110 §13.1.2 wants it.
func etagMatches(lines []string, etag string) bool {
	return slices.ContainsFunc(lines, func(line string) bool {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
		return false
	})
}

const (
	chunk = 64 << 10
	// chunkTime is how long the caller may take for a chunk: as long as he has not
	// taken it, the platform's connection is held.
	chunkTime = 30 * time.Second
)

// patient writes an answer in chunks for which the caller has to be there.
type patient struct {
	*bufio.Writer
	to   http.ResponseWriter
	ctrl *http.ResponseController
	time time.Duration // for each chunk
	gone bool          // the caller is
}

func newPatient(w http.ResponseWriter) *patient {
	p := &patient{to: w, ctrl: http.NewResponseController(w), time: chunkTime}
	p.Writer = bufio.NewWriterSize(writerFunc(p.write), chunk)
	return p
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(data []byte) (int, error) { return f(data) }

func (p *patient) write(data []byte) (int, error) {
	_ = p.ctrl.SetWriteDeadline(time.Now().Add(p.time)) // where there are deadlines
	n, err := p.to.Write(data)
	p.gone = err != nil
	return n, err
}

// rest sends what the server has not sent yet, and lifts the deadline.
func (p *patient) rest() {
	_ = p.ctrl.Flush()
	_ = p.ctrl.SetWriteDeadline(time.Time{})
}
