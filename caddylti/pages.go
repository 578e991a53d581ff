package caddylti

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-lti/lti/internal/page"
)

// provisionPages loads the pages that people see, and tries them out.
func (h *Handler) provisionPages() error {
	var err error
	if h.Pages == "" {
		h.pages, err = page.New()
		return err
	}
	dir, err := caddy.NewReplacer().ReplaceOrErr(h.Pages, true, true)
	if err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	if h.pages, err = page.Load(dir); err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	return nil
}

// unmarshalPages reads the name of the folder, and the folder too if it is there,
// so that an error names the line. A Caddyfile may be adapted on a machine where
// it is not.
func (h *Handler) unmarshalPages(d *caddyfile.Dispenser) error {
	if err := oneArg(d, &h.Pages); err != nil {
		return err
	}
	if strings.Contains(h.Pages, "{") {
		return nil // it has no value yet
	}
	if _, err := page.Load(h.Pages); err != nil && !isMissing(err, h.Pages) {
		return d.Errf("pages: %v", err)
	}
	return nil
}

// isMissing reports whether it is the folder itself that is not there.
func isMissing(err error, dir string) bool {
	e, ok := errors.AsType[*fs.PathError](err)
	return ok && e.Path == dir && errors.Is(err, fs.ErrNotExist)
}

// languageVar is the request variable that holds the language of the launch that
// a request is about.
const languageVar = "lti.language"

// launchedIn says in which language the pages of a launch are.
func launchedIn(r *http.Request, language string) {
	caddyhttp.SetVar(r.Context(), languageVar, language)
}

// in returns the pages in the language of the request's launch, or else of its
// browser.
func (h *Handler) in(r *http.Request) *page.Language {
	language, _ := caddyhttp.GetVar(r.Context(), languageVar).(string)
	if language == "" {
		if holder, _ := caddyhttp.GetVar(r.Context(), visitVar).(*visitHolder); holder != nil && holder.h == h && holder.visit != nil {
			language = holder.visit.facts.Language
		}
	}
	return h.pages.In(language, r.Header["Accept-Language"])
}
