package caddylti

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// protectedWriter looks after answers of the app on protected paths: caches must
// not keep them for others, and a stream ends with the session.
type protectedWriter struct {
	caddyhttp.ResponseWriterWrapper
	h      *Handler
	v      *visit
	wrote  bool
	stream bool // of events: it is no better than a WebSocket past the session's limits
}

var errSessionOver = errors.New("the session has ended")

// WriteHeader implements http.ResponseWriter.
func (w *protectedWriter) WriteHeader(status int) {
	// Informational answers come before the real one.
	if !w.wrote && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.wrote = true
		makePrivate(w.Header())
		w.stream = strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream")
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *protectedWriter) Write(p []byte) (int, error) {
	if err := w.begin(); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements io.ReaderFrom.
func (w *protectedWriter) ReadFrom(r io.Reader) (int64, error) {
	if err := w.begin(); err != nil {
		return 0, err
	}
	return w.ResponseWriterWrapper.ReadFrom(r)
}

func (w *protectedWriter) begin() error {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if w.v.session.Ended() || (w.stream && w.v.sessions.Over(w.v.session, w.h.limits)) {
		return errSessionOver
	}
	return nil
}

// FlushError implements what http.ResponseController looks for.
func (w *protectedWriter) FlushError() error {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (w *protectedWriter) Flush() { _ = w.FlushError() }

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
