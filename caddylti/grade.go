package caddylti

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
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

	header string // canonical
}

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
	if err := checkPattern(on.Path); err != nil {
		return points{}, fmt.Errorf("on %q: %w", on.Path, err)
	}
	if !strings.HasPrefix(on.Path, "/") {
		return points{}, fmt.Errorf("on %q: expected a path, such as /finished", on.Path)
	}
	p, err := parsePoints(on.Score)
	if err != nil {
		return points{}, fmt.Errorf("on %s: score %q: %w", on.Path, on.Score, err)
	}
	return p, nil
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
	if g.Header == "" && len(g.On) == 0 {
		return errors.New("grade: nothing says where scores come from: write header or on")
	}
	if g.Header != "" {
		if err := checkGradeHeader(g.Header); err != nil {
			return fmt.Errorf("grade: %w", err)
		}
		g.header = http.CanonicalHeaderKey(g.Header)
	}
	for _, on := range g.On {
		if on == nil {
			return errors.New("grade: on: null")
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
// answer goes out.
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
	if w.v == nil || !w.protected {
		return
	}
	var (
		got   points
		found bool
		where string
	)
	if reported {
		var err error
		if len(lines) == 1 {
			got, err = parsePoints(lines[0])
		} else {
			err = errors.New("it is there several times")
		}
		if err != nil {
			w.h.logger.Warn("the app's answer has a score that cannot be read: no score was taken",
				zap.String("header", g.Header), zap.String("platform", w.v.facts.Platform), zap.Error(err))
			return
		}
		found, where = true, "header"
	} else if status >= 200 && status < 300 && w.r.Method == http.MethodGet && w.navigation {
		for _, on := range g.On {
			if match(on.Path, w.path) {
				got, found, where = on.points, true, "on "+on.Path
				break
			}
		}
	}
	if !found || w.v.facts.hasRole(instructorRoles) {
		return
	}
	fields := []zap.Field{
		zap.String("from", where), zap.String("platform", w.v.facts.Platform), zap.String("launch_id", w.v.facts.LaunchID),
	}
	if err := w.h.takeScore(w.r, w.v, got); err != nil {
		w.h.logger.Error("a score of the app was not taken", append(fields, zap.Error(err))...)
		return
	}
	w.h.logger.Info("score taken", fields...)
}

// takeTimeout bounds the storing of a score that an answer brought.
const takeTimeout = 5 * time.Second

// takeScore gives a score of the person's own to the outbox.
func (h *Handler) takeScore(r *http.Request, v *visit, got points) error {
	c := &caller{visit: v}
	if err := c.mustBeSure(); err != nil {
		return err
	}
	d, err := h.destination(c, "", "")
	if err != nil {
		return err
	}
	ready, err := h.app.open()
	if err != nil {
		return err
	}
	score := ags.Score{UserID: d.User, ScoreGiven: &got.given, ScoreMaximum: &got.maximum}
	score.SetDefaults()
	// The app has done its work, whether the browser still waits or not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), takeTimeout)
	defer cancel()
	_, err = h.enqueue(ctx, ready, d, score, h.ownerOf(r, c), "")
	return err
}
