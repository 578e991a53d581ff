package caddylti

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/ags"
)

// Grade has scores taken from what the app does anyway, for apps that cannot call
// the API. Instructors, who look at an activity as learners see it, get none.
type Grade struct {
	// Header is the name of a header in the app's answers that carries a score,
	// such as 8/10. It never reaches the browser. Default: none.
	Header string `json:"header,omitempty"`

	// On lists pages that are worth a score. Default: none.
	On []*GradeOn `json:"on,omitempty"`

	// Visit lists pages of which the share that a learner has been to is the
	// score. It is kept per learner and activity, and never lowers a score. Each
	// is a page, or, with * at the end, all whose paths begin so. Default: none.
	Visit []string `json:"visit,omitempty"`

	// Browser says whether pages of the site may report the score of whoever
	// looks at them, at the route /score: on or off. Their learners can then
	// report any score. Default: off.
	Browser string `json:"browser,omitempty"`

	header string   // canonical
	visit  []string // ids of Visit
}

// browser reports whether pages may report scores.
func (g *Grade) browser() bool { return g != nil && g.Browser == "on" }

// source reports whether anything says where scores come from.
func (g *Grade) source() bool {
	return g.Header != "" || len(g.On) > 0 || len(g.Visit) > 0 || g.browser()
}

var errNoSource = errors.New("grade needs to say where scores come from: header NAME, on PATH score GIVEN/MAXIMUM, visit PATH…, or browser on")

// GradeOn is a page that is worth a score to whoever comes to it. Learners can
// come to any page that they know of.
type GradeOn struct {
	// Path is the page, or, with * at the end, all whose paths begin so.
	// Required.
	Path string `json:"path"`

	// Score is what it is worth, such as 1/1. Required.
	Score string `json:"score"`

	points points
}

// points is a score as 8/10 says it.
type points struct{ given, maximum float64 }

// parsePoints reads a score.
func parsePoints(s string) (points, error) {
	given, maximum, ok := strings.Cut(strings.TrimSpace(s), "/")
	g, err1 := strconv.ParseFloat(strings.TrimSpace(given), 64)
	m, err2 := strconv.ParseFloat(strings.TrimSpace(maximum), 64)
	if !ok || len(s) > 64 || err1 != nil || err2 != nil || !(g >= 0) || !(m > 0) || math.IsInf(g, 0) || math.IsInf(m, 0) {
		return points{}, errors.New("expected what was reached and what could be, such as 8/10")
	}
	return points{g, m}, nil
}

// check looks at what is written, and reads the score.
func (on *GradeOn) check() (points, error) {
	if err := checkPage(on.Path); err != nil {
		return points{}, fmt.Errorf("on %q: %w", on.Path, err)
	}
	p, err := parsePoints(on.Score)
	if err != nil {
		return points{}, fmt.Errorf("on %s: score %q: %w", on.Path, on.Score, err)
	}
	return p, nil
}

// checkPage refuses what is no page's path.
func checkPage(path string) error {
	if !strings.HasPrefix(path, "/") {
		return errors.New("expected a path, such as /finished")
	}
	return checkPattern(path)
}

// checkCounts refuses a page that could never count.
func (h *Handler) checkCounts(path string) error {
	if strings.HasSuffix(path, "*") {
		return nil // some of them may
	}
	where := classify((&url.URL{Path: path}).EscapedPath())
	switch {
	case h.under(path):
		return fmt.Errorf("%s is below %s, where no page of the site is", path, h.Base)
	case where.odd, !h.protects(where):
		return fmt.Errorf("%s is not protected (see public and protect), so who comes there need not be signed in", path)
	}
	return nil
}

// checkVisit looks at the pages of visit.
func checkVisit(pages []string) error {
	if len(pages) > maxVisit {
		return fmt.Errorf("visit: %d pages, at most %d can count", len(pages), maxVisit)
	}
	for i, page := range pages {
		if err := checkPage(page); err != nil {
			return fmt.Errorf("visit %q: %w", page, err)
		}
		if slices.Contains(pages[:i], page) {
			return fmt.Errorf("visit: %s is there twice", page)
		}
	}
	return nil
}

// checkGradeHeader refuses names of headers that mean something else.
func checkGradeHeader(name string) error {
	switch canonical := http.CanonicalHeaderKey(name); {
	case !headerName.MatchString(name):
		return fmt.Errorf("header %q: expected a name of letters, digits and hyphens, such as X-LTI-Score", name)
	case !strings.HasPrefix(canonical, "X-"):
		return fmt.Errorf("header %s: expected a name that begins with X-, such as X-LTI-Score", name)
	}
	return nil
}

func (h *Handler) provisionGrade() error {
	g := h.Grade
	if g == nil {
		return nil
	}
	switch g.Browser {
	case "":
		g.Browser = "off"
	case "on", "off":
	default:
		return fmt.Errorf("grade: browser %q: expected on or off", g.Browser)
	}
	if !g.source() {
		return errNoSource
	}
	if err := checkVisit(g.Visit); err != nil {
		return fmt.Errorf("grade: %w", err)
	}
	g.visit = make([]string, len(g.Visit))
	for i, page := range g.Visit {
		if err := h.checkCounts(page); err != nil {
			return fmt.Errorf("grade: visit: %w", err)
		}
		g.visit[i] = pageID(page)
	}
	for _, p := range h.Platforms {
		if p.service.TokenURL == "" {
			return fmt.Errorf("grade: platform %s has no token_url, without which no score can be sent", p.Name)
		}
	}
	if g.Header != "" {
		if err := checkGradeHeader(g.Header); err != nil {
			return fmt.Errorf("grade: %w", err)
		}
		g.header = http.CanonicalHeaderKey(g.Header)
	}
	for i, on := range g.On {
		if on == nil {
			return errors.New("grade: on: null")
		}
		if slices.ContainsFunc(g.On[:i], func(o *GradeOn) bool { return o.Path == on.Path }) {
			return fmt.Errorf("grade: on %s is there twice", on.Path)
		}
		if err := h.checkCounts(on.Path); err != nil {
			return fmt.Errorf("grade: on: %w", err)
		}
		var err error
		if on.points, err = on.check(); err != nil {
			return fmt.Errorf("grade: %w", err)
		}
	}
	return nil
}

// scores reports whether something of the configuration sends scores.
func (h *Handler) scores() bool { return h.API != nil || h.Grade != nil }

// grade takes the score of an answer, if there is one. It is stored before the
// answer goes out; only that a page was visited is written later.
func (w *appWriter) grade(status int) {
	g := w.h.Grade
	header := w.Header()
	lines, reported := header[g.header]
	if g.header == "" {
		reported = false
	}
	if reported {
		delete(header, g.header)
	}
	if w.v == nil || !w.protected || w.v.facts.hasRole(instructorRoles) {
		return
	}
	come := w.navigation && w.r.Method == http.MethodGet && (status >= 200 && status < 300 || status == http.StatusNotModified)
	if come {
		for i, page := range g.Visit {
			if match(page, w.path) {
				if err := w.h.takeVisit(w.r, w.v, g.visit[i]); err != nil {
					w.taken("visit "+page, err)
				}
			}
		}
	}
	if reported {
		if len(lines) != 1 {
			w.unreadable(errors.New("it is there several times"))
		} else if got, err := parsePoints(lines[0]); err != nil {
			w.unreadable(err)
		} else {
			w.taken("header", w.h.takeScore(w.r, w.v, got))
		}
		return
	}
	if come {
		for _, on := range g.On {
			if match(on.Path, w.path) {
				w.taken("on "+on.Path, w.h.takeScore(w.r, w.v, on.points))
				return
			}
		}
	}
}

func (w *appWriter) unreadable(err error) {
	w.h.logger.Warn("the app's answer has a score that cannot be read: no score was taken",
		zap.String("header", w.h.Grade.Header), zap.String("platform", w.v.facts.Platform), zap.Error(err))
}

// taken logs what became of a score.
func (w *appWriter) taken(from string, err error) {
	fields := []zap.Field{
		zap.String("from", from), zap.String("platform", w.v.facts.Platform), zap.String("launch_id", w.v.facts.LaunchID),
	}
	if err != nil {
		w.h.logger.Error("a score of the app was not taken", append(fields, zap.Error(err))...)
		return
	}
	w.h.logger.Info("score taken", fields...)
}

// takeTimeout bounds the storing of a score that an answer brought.
const takeTimeout = 5 * time.Second

// own is where the scores of a person go in the activity that he has opened.
func (h *Handler) own(r *http.Request, v *visit) (ready *ready, d *destination, owner string, err error) {
	c := &caller{visit: v}
	if err := c.mustBeSure(); err != nil {
		return nil, nil, "", err
	}
	if d, err = h.destination(c, "", ""); err != nil {
		return nil, nil, "", err
	}
	ready, err = h.app.open()
	return ready, d, h.ownerOf(r, c), err
}

// takeScore gives a score of the person's own to the outbox.
func (h *Handler) takeScore(r *http.Request, v *visit, got points) error {
	ready, d, owner, err := h.own(r, v)
	if err != nil {
		return err
	}
	// The app has done its work, whether the browser still waits or not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), takeTimeout)
	defer cancel()
	_, err = h.enqueue(ctx, ready, d, ags.Score{ScoreGiven: &got.given, ScoreMaximum: &got.maximum}, owner, "")
	return err
}

// takeVisit notes that the person has come to a page.
func (h *Handler) takeVisit(r *http.Request, v *visit, page string) error {
	ready, d, owner, err := h.own(r, v)
	if err != nil {
		return err
	}
	n := note{to: *d, owner: owner, of: h.Grade.visit}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), takeTimeout)
	defer cancel()
	return ready.progress.visited(ctx, n, page)
}
