// Package page renders the pages that people see: what went wrong with a launch
// and how to go on, and where an administrator finds the tool's URLs.
//
// Pages are self-contained: no script, no foreign resource, a strict content
// security policy. Their words stand in texts/, a file for each language.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
)

//go:embed page.html style.css texts/*.json
var files embed.FS

// Text is the words of one page.
type Text struct {
	Title string   `json:"title"`
	Lead  string   `json:"lead"`
	Steps []string `json:"steps,omitempty"`
}

// Texts is everything that is said in one language.
type Texts struct {
	// Pages is keyed by the id of the page: a code of lti.Error, or a name such
	// as signed_out.
	Pages map[string]Text `json:"pages"`
	// Words are the few that all pages share.
	Words map[string]string `json:"words"`
}

// Field is one URL on the set-up page.
type Field struct {
	Label string
	Help  string
	Value string
}

// Page is what is shown.
type Page struct {
	ID        string
	Reference string // under which the log has the reason
	Fields    []Field
}

// Renderer writes pages. It does not change.
type Renderer struct {
	tmpl  *template.Template
	texts Texts
	style template.CSS
	csp   string
}

// New makes a Renderer. It fails only if the embedded files are broken.
func New() (*Renderer, error) {
	style, err := files.ReadFile("style.css")
	if err != nil {
		return nil, err
	}
	r := &Renderer{style: template.CSS(style)} //nolint:gosec // our own file
	sum := sha256.Sum256(style)
	r.csp = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'"
	if r.tmpl, err = template.ParseFS(files, "page.html"); err != nil {
		return nil, err
	}
	data, err := files.ReadFile("texts/en.json")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &r.texts); err != nil {
		return nil, fmt.Errorf("texts/en.json: %w", err)
	}
	return r, nil
}

// Has reports whether there are words for the page.
func (r *Renderer) Has(id string) bool {
	_, ok := r.texts.Pages[id]
	return ok
}

// Word returns one of the shared words.
func (r *Renderer) Word(name string) string { return r.texts.Words[name] }

// Title returns the heading of a page.
func (r *Renderer) Title(id string) string { return r.texts.Pages[id].Title }

// Write sends the page with that status. A page without words of its own says
// what the page "failed" says.
func (r *Renderer) Write(w http.ResponseWriter, status int, p Page) error {
	text, ok := r.texts.Pages[p.ID]
	if !ok {
		text = r.texts.Pages["failed"]
	}
	var buf bytes.Buffer
	err := r.tmpl.ExecuteTemplate(&buf, "page.html", struct {
		Text
		Page
		Style template.CSS
		Words map[string]string
	}{text, p, r.style, r.texts.Words})
	if err != nil {
		return fmt.Errorf("rendering page %s: %w", p.ID, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", r.csp)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_, err = w.Write(buf.Bytes())
	return err
}
