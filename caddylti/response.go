package caddylti

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// appWriter looks after the app's answers. On protected paths caches must not
// keep them for others, and a stream ends with the session. On all paths the
// app's cookies and its words about frames are made to work in the platform's
// frame.
type appWriter struct {
	caddyhttp.ResponseWriterWrapper
	h         *Handler
	r         *http.Request
	v         *visit // nil if nobody is signed in
	protected bool
	wrote     bool

	path       string // as the browser asked for it, decoded
	navigation bool   // somebody came to a page

	stream bool // of events: it is no better than a WebSocket past the session's limits
}

var errSessionOver = errors.New("the session has ended")

// WriteHeader implements http.ResponseWriter.
func (w *appWriter) WriteHeader(status int) {
	// Informational answers come before the real one.
	if !w.wrote && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.wrote = true
		if w.h.Grade != nil {
			w.grade(status)
		}
		w.prepare()
		w.stream = strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream")
	}
	w.ResponseWriter.WriteHeader(status)
}

// prepare changes the header that is about to be sent.
func (w *appWriter) prepare() {
	header := w.Header()
	if w.h.API != nil {
		delete(header, tokenHeader) // an app may echo what it got
	}
	if w.protected && w.v != nil {
		makePrivate(header)
	}
	if lines := header["Set-Cookie"]; len(lines) > 0 {
		w.cookies(lines)
	}
	if w.h.Frame != "on" {
		return
	}
	if w.v != nil {
		delete(header, "X-Frame-Options")
		allowFrames(header, w.h.derived(w.v).frames)
	}
	if to := header["Location"]; len(to) == 1 {
		if inside := w.h.inside(w.r, to[0]); inside != "" {
			header["Location"] = []string{inside}
		}
	}
}

// cookies makes the app's cookies work in a frame, and remembers which there
// are.
func (w *appWriter) cookies(lines []string) {
	for i, line := range lines {
		name, _, _ := strings.Cut(line, "=")
		if ours(strings.TrimSpace(name)) {
			continue // of a block inside this one
		}
		if w.v != nil {
			w.v.book.note(w.h.site(w.r), whereGood(line, w.r.URL.Path))
		}
		if w.h.AppCookies == "on" {
			lines[i] = frameCookie(line)
		}
	}
}

// Write implements http.ResponseWriter.
func (w *appWriter) Write(p []byte) (int, error) {
	if err := w.begin(); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements io.ReaderFrom.
func (w *appWriter) ReadFrom(r io.Reader) (int64, error) {
	if err := w.begin(); err != nil {
		return 0, err
	}
	return w.ResponseWriterWrapper.ReadFrom(r)
}

func (w *appWriter) begin() error {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if !w.protected || w.v == nil {
		return nil
	}
	if w.v.session.Ended() || (w.stream && w.v.sessions.Over(w.v.session, w.h.limits)) {
		return errSessionOver
	}
	return nil
}

// FlushError implements what http.ResponseController looks for.
func (w *appWriter) FlushError() error {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (w *appWriter) Flush() { _ = w.FlushError() }

// makePrivate keeps shared caches away. What else the app says of caching stays.
func makePrivate(h http.Header) {
	lines := h["Cache-Control"]
	if len(lines) == 0 {
		h["Cache-Control"] = privateOnly
		return
	}
	kept := []string{"private"}
	for _, line := range lines {
		for _, directive := range directives(line) {
			directive = strings.TrimSpace(directive)
			name, _, _ := strings.Cut(strings.ToLower(directive), "=")
			switch strings.TrimSpace(name) {
			case "", "public", "s-maxage", "proxy-revalidate", "private": // private="X" covers one header only
			default:
				kept = append(kept, directive)
			}
		}
	}
	h["Cache-Control"] = []string{strings.Join(kept, ", ")}
}

// directives splits a header's value at its commas, but for those in quotes.
func directives(line string) []string {
	var list []string
	quoted, begin := false, 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '"':
			quoted = !quoted
		case '\\':
			if quoted {
				i++
			}
		case ',':
			if !quoted {
				list = append(list, line[begin:i])
				begin = i + 1
			}
		}
	}
	return append(list, line[begin:])
}

var privateOnly = []string{"private"}
