package page

import (
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// Limits of a folder of pages.
const (
	maxFile     = 256 << 10
	maxLogo     = 64 << 10
	maxFiles    = 200
	maxRendered = 4 << 20 // of a page that is tried out
)

// logoTypes are the pictures that may be a logo, by the ending of their name.
var logoTypes = map[string]string{
	".svg": "image/svg+xml", ".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg",
}

// Load returns a Renderer with the built-in pages, over which the files of a
// folder are laid: texts/LANG.json, templates, style.css and a logo. It tries
// all pages out, so that what is wrong with a file shows now, and not to a
// person in trouble.
func Load(dir string) (*Renderer, error) {
	s, err := embedded()
	if err != nil {
		return nil, err
	}
	l := &folder{dir: dir, set: s, own: make(map[string]bool)}
	s.where = l.where
	if err := l.read(); err != nil {
		return nil, err
	}
	r, err := s.renderer()
	if err != nil {
		return nil, err
	}
	return r, l.try(r)
}

// folder is a folder of pages that is being read.
type folder struct {
	dir   string
	set   *set
	own   map[string]bool // names of its templates
	files int
}

func (f *folder) read() error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		ext := filepath.Ext(name)
		switch {
		case ignored(name):
		case name == "texts":
			err = f.readTexts()
		case ext == ".html":
			err = f.readTemplate(name)
		case name == "style.css":
			err = f.readStyle(name)
		case strings.TrimSuffix(name, ext) == "logo" && logoTypes[ext] != "":
			err = f.readLogo(name, logoTypes[ext])
		default:
			err = fmt.Errorf("%s is none of the files that can be here: texts/LANG.json, templates (*.html), style.css, logo.svg, .png, .webp or .jpg", filepath.Join(f.dir, name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ignored reports whether a file is not meant for us: what editors, version
// control and people leave beside the others.
func ignored(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.HasPrefix(name, "README")
}

// file reads a file, and no more of it than may be.
func (f *folder) file(name string, most int) ([]byte, error) {
	if f.files++; f.files > maxFiles {
		return nil, fmt.Errorf("%s has more than %d files", f.dir, maxFiles)
	}
	name = filepath.Join(f.dir, name)
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", name)
	}
	in, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	data, err := io.ReadAll(io.LimitReader(in, int64(most)+1))
	if err == nil && len(data) > most {
		err = fmt.Errorf("%s is larger than %d KiB", name, most>>10)
	}
	return data, err
}

func (f *folder) readTexts() error {
	entries, err := os.ReadDir(filepath.Join(f.dir, "texts"))
	if err != nil {
		return err
	}
	english := f.set.texts[language.English]
	for _, e := range entries {
		name := filepath.Join("texts", e.Name())
		if ignored(e.Name()) {
			continue
		}
		base, ok := strings.CutSuffix(e.Name(), ".json")
		tag, err := language.Parse(base)
		if !ok || err != nil || tag == language.Und {
			return fmt.Errorf("%s: expected the name of a language, such as nl.json or pt-BR.json", filepath.Join(f.dir, name))
		}
		data, err := f.file(name, maxFile)
		if err != nil {
			return err
		}
		texts, err := parseTexts(data, english)
		if err != nil {
			return fmt.Errorf("%s:%w", filepath.Join(f.dir, name), err)
		}
		if below := f.set.texts[tag]; below != nil {
			texts = texts.on(below)
		}
		f.set.texts[tag] = texts
	}
	return nil
}

func (f *folder) readTemplate(name string) error {
	english := f.set.texts[language.English]
	if _, ok := english.Pages[strings.TrimSuffix(name, ".html")]; !ok && !slices.Contains(layoutFiles, name) && !strings.HasPrefix(name, "_") {
		return fmt.Errorf("%s: there is no page of this name, and no part of all pages; the name of a template that others include begins with _", filepath.Join(f.dir, name))
	}
	data, err := f.file(name, maxFile)
	if err != nil {
		return err
	}
	f.set.templates[name] = string(data)
	f.own[name] = true
	return nil
}

// readStyle puts the folder's style behind ours.
func (f *folder) readStyle(name string) error {
	data, err := f.file(name, maxFile)
	if err != nil {
		return err
	}
	if strings.Contains(strings.ToLower(string(data)), "</style") {
		return fmt.Errorf("%s ends the style sheet with </style>: it is put into pages as it is", filepath.Join(f.dir, name))
	}
	// A browser hashes the style as it reads it: with one kind of line end.
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\x00", "").Replace(string(data))
	f.set.style = append(append(f.set.style, '\n'), text...)
	return nil
}

func (f *folder) readLogo(name, mediaType string) error {
	if f.set.logo != "" {
		return fmt.Errorf("%s: there is another logo beside it", filepath.Join(f.dir, name))
	}
	data, err := f.file(name, maxLogo)
	if err != nil {
		return err
	}
	if got := http.DetectContentType(data); mediaType != "image/svg+xml" && got != mediaType {
		return fmt.Errorf("%s is no %s but %s", filepath.Join(f.dir, name), mediaType, got)
	}
	f.set.logo = template.URL("data:" + mediaType + ";base64," + base64.StdEncoding.EncodeToString(data)) //nolint:gosec // a picture that the administrator chose
	return nil
}

// templateError matches how html/template and text/template begin their errors.
var templateError = regexp.MustCompile(`^(?:html/)?template: ?([^:\s]+)`)

// where says in which file of the folder a template is wrong.
func (f *folder) where(err error) error {
	m := templateError.FindStringSubmatch(err.Error())
	if m == nil || !f.own[m[1]] {
		return err
	}
	return errors.New(filepath.Join(f.dir, m[1]) + strings.TrimPrefix(err.Error(), m[0]))
}

// culprit finds the file that makes a page fail where the error names another:
// without it the page does not fail.
func (f *folder) culprit(err error) string {
	if m := templateError.FindStringSubmatch(err.Error()); m != nil && f.own[m[1]] {
		return ""
	}
	builtIn, err := embedded()
	if err != nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(f.own)) {
		without := *f.set
		without.templates = maps.Clone(f.set.templates)
		delete(without.templates, name)
		if source, ok := builtIn.templates[name]; ok {
			without.templates[name] = source
		}
		if r, err := without.renderer(); err == nil && r.English().tryAll(func(sample, string) error { return nil }) == nil {
			return filepath.Join(f.dir, name) + ": "
		}
	}
	return ""
}

// errTooLong ends the trial of a template that does not come to its end.
var errTooLong = fmt.Errorf("the page is larger than %d MiB", maxRendered>>20)

// bounded takes so much of a page, and an error beyond.
type bounded struct{ strings.Builder }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxRendered {
		return 0, errTooLong
	}
	return b.Builder.Write(p)
}

// try renders every page in every language.
func (f *folder) try(r *Renderer) error {
	for _, sp := range r.spoken {
		l := &Language{spoken: sp, r: r}
		err := l.tryAll(func(s sample, page string) error {
			for _, m := range s.musts {
				if !strings.Contains(page, m.text) && !strings.Contains(page, template.HTMLEscapeString(m.text)) {
					return fmt.Errorf("%s: trying out the page %s in %q: %s is missing", f.blame(s.ID), s.ID, l.tag, m.what)
				}
			}
			return nil
		})
		if failed, ok := errors.AsType[*renderError](err); ok {
			return fmt.Errorf("%strying out the page %s in %q: %w", f.culprit(failed.err), failed.id, l.tag, f.where(failed.err))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// renderError is why a page could not be made.
type renderError struct {
	id  string
	err error
}

// Error implements error.
func (e *renderError) Error() string { return e.id + ": " + e.err.Error() }

// tryAll renders all samples and has each looked at.
func (l *Language) tryAll(look func(s sample, page string) error) error {
	for _, s := range l.samples() {
		var out bounded
		if err := l.render(&out, &s.Page); err != nil {
			return &renderError{s.ID, err}
		}
		if err := look(s, out.String()); err != nil {
			return err
		}
	}
	return nil
}

// blame guesses which file leaves something out of a page.
func (f *folder) blame(id string) string {
	for _, name := range append([]string{id + ".html"}, layoutFiles...) {
		if f.own[name] {
			return filepath.Join(f.dir, name)
		}
	}
	return f.dir
}
