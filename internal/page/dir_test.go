package page

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// folderOf writes a folder of pages.
func folderOf(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range content {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func loadFolder(t *testing.T, content map[string]string) *Renderer {
	t.Helper()
	r, err := Load(folderOf(t, content))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func written(t *testing.T, l *Language, p Page) (http.Header, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	if err := l.Write(rec, http.StatusOK, p); err != nil {
		t.Fatal(err)
	}
	return rec.Header(), rec.Body.String()
}

func TestFolderOfTexts(t *testing.T) {
	r := loadFolder(t, map[string]string{
		"texts/nl.json":    `{"words": {"go_on": "Verder"}, "pages": {"failed": {"title": "Dat ging mis"}}}`,
		"texts/de-AT.json": `{"pages": {"signed_out": {"title": "Servus"}}}`,
		"texts/en.json":    `{"pages": {"failed": {"steps": ["Call <b>12345</b>."]}}}`,
		"texts/he.json":    `{}`,
		"README.md":        "ours", ".git": "x", "texts/nl.json~": "x", "texts/.swp": "x",
	})
	nl := r.In("nl-NL", nil)
	if _, body := written(t, nl, Page{ID: "failed"}); !strings.Contains(body, "<h1>Dat ging mis</h1>") || !strings.Contains(body, `<html lang="nl" dir="ltr">`) ||
		!strings.Contains(body, nl.r.English().texts.Pages["failed"].Lead) {
		t.Errorf("a language of one's own: %s", body)
	}
	if _, body := written(t, nl, Page{ID: "failed"}); !strings.Contains(body, "Call &lt;b&gt;12345&lt;/b&gt;.") {
		t.Errorf("what is missing is not said in the folder's English, or a text is markup: %s", body)
	}
	at, de := r.In("de-AT", nil), r.In("de-DE", nil)
	if at.Title("signed_out") != "Servus" || at.Title("failed") != de.Title("failed") || de.Title("signed_out") == "Servus" {
		t.Errorf("a variant of a language: %q %q", at.Title("signed_out"), at.Title("failed"))
	}
	if he := r.In("he", nil); he.dir != "rtl" {
		t.Errorf("Hebrew runs %s", he.dir)
	}
	// The built-in pages are as before.
	if own, err := New(); err != nil || own.Match("nl") != "" || len(own.English().texts.Pages["failed"].Steps) != 2 {
		t.Error("a folder changed the pages of everybody")
	}
}

func TestFolderOfTemplates(t *testing.T) {
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 2, 2))); err != nil {
		t.Fatal(err)
	}
	r := loadFolder(t, map[string]string{
		"footer.html":          `<p class="legal">{{template "_legal.html" .}}</p>`,
		"_legal.html":          "University of {{.Lang}}",
		"session_missing.html": `<h1>Ask us</h1>{{template "body.html" .}}`,
		"style.css":            ":root { --mark: #7a1fa2; }\r\n.legal { color: var(--soft); }\r\n",
		"logo.png":             picture.String(),
	})
	h, body := written(t, r.English(), Page{ID: "failed"})
	if !strings.Contains(body, `<p class="legal">University of en</p>`) || strings.Contains(body, "Ask us") {
		t.Errorf("a footer of one's own: %s", body)
	}
	if !strings.Contains(body, `<img class="logo" src="data:image/png;base64,`+base64.StdEncoding.EncodeToString(picture.Bytes())+`" alt="">`) ||
		!strings.Contains(h.Get("Content-Security-Policy"), "; img-src data:;") {
		t.Errorf("a logo: %s\n%s", h.Get("Content-Security-Policy"), body)
	}
	style, _, _ := strings.Cut(body[strings.Index(body, "<style>")+len("<style>"):], "</style>")
	if !strings.HasSuffix(style, ".legal { color: var(--soft); }\n") || strings.Contains(style, "\r") ||
		!strings.Contains(h.Get("Content-Security-Policy"), "style-src "+sourceHash([]byte(style))) {
		t.Errorf("a style of one's own under %s", h.Get("Content-Security-Policy"))
	}
	if _, body := written(t, r.In("de", nil), Page{ID: "session_missing"}); !strings.Contains(body, "<h1>Ask us</h1>\n<h1>"+r.In("de", nil).Title("session_missing")) &&
		!strings.Contains(body, "<h1>Ask us</h1><h1>"+r.In("de", nil).Title("session_missing")) {
		t.Errorf("a page of one's own: %s", body)
	}
	if h, _ := written(t, r.English(), Page{ID: "picker", Picker: &Picker{}}); !strings.Contains(h.Get("Content-Security-Policy"), "; img-src 'self' data:") {
		t.Errorf("the picker with a logo: %s", h.Get("Content-Security-Policy"))
	}
}

func TestFolderErrors(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string // DIR is the folder
	}{
		"syntax":          {map[string]string{"footer.html": "\n{{if}}"}, []string{"DIR/footer.html:2: missing value for if"}},
		"not closed":      {map[string]string{"failed.html": "<p>\n\n{{range .Steps}}"}, []string{"DIR/failed.html:3: unexpected EOF"}},
		"no such field":   {map[string]string{"header.html": "<p>\n{{.Nonsense}}"}, []string{"trying out the page", "DIR/header.html:2:", "Nonsense"}},
		"no such word":    {map[string]string{"header.html": `{{index .Words "nonsense" 1}}`}, []string{"DIR/header.html:1:"}},
		"word misspelt":   {map[string]string{"header.html": "\n\n{{.Words.opne_window}}"}, []string{"DIR/header.html:3:", "opne_window"}},
		"no such include": {map[string]string{"footer.html": "\n{{template \"_x.html\"}}"}, []string{"DIR/footer.html:2", "_x.html"}},
		"open attribute":  {map[string]string{"footer.html": `<a href="{{.Lang}}>`}, []string{"DIR/footer.html: trying out the page"}},
		"endless":         {map[string]string{"_a.html": `x{{template "_a.html" .}}`, "footer.html": `{{template "_a.html" .}}`}, []string{"trying out the page", "exceeded maximum template depth"}},
		"huge":            {map[string]string{"footer.html": `{{define "x"}}` + strings.Repeat("x", 200<<10) + `{{end}}{{range .Words}}{{template "x"}}{{end}}`}, []string{"larger than 4 MiB"}},
		"unknown file":    {map[string]string{"footer.htm": ""}, []string{"DIR/footer.htm is none of the files"}},
		"unknown page":    {map[string]string{"sesion_missing.html": ""}, []string{"DIR/sesion_missing.html: there is no page of this name"}},
		"unknown text":    {map[string]string{"texts/nl.json": "{\"words\":\n{\"x\": \"y\"}}"}, []string{`DIR/texts/nl.json:2: there is no word "x"`}},
		"no language":     {map[string]string{"texts/dutch!.json": "{}"}, []string{"DIR/texts/dutch!.json: expected the name of a language"}},
		"no texts":        {map[string]string{"texts/nl.txt": "{}"}, []string{"DIR/texts/nl.txt: expected the name of a language"}},
		"texts no folder": {map[string]string{"texts": "{}"}, []string{"DIR/texts: not a directory"}},
		"style":           {map[string]string{"style.css": "p { content: '</STYLE>' }"}, []string{"DIR/style.css ends the style sheet"}},
		"two logos":       {map[string]string{"logo.svg": "<svg/>", "logo.jpg": "\xff\xd8\xff"}, []string{"DIR/logo.svg: there is another logo"}},
		"no picture":      {map[string]string{"logo.png": "GIF89a"}, []string{"DIR/logo.png is no image/png"}},
		"large logo":      {map[string]string{"logo.svg": strings.Repeat(" ", 64<<10+1)}, []string{"DIR/logo.svg is larger than 64 KiB"}},
		"large template":  {map[string]string{"footer.html": strings.Repeat(" ", 256<<10+1)}, []string{"DIR/footer.html is larger than 256 KiB"}},
		"large texts":     {map[string]string{"texts/nl.json": strings.Repeat(" ", 256<<10+1)}, []string{"DIR/texts/nl.json is larger than 256 KiB"}},
		"a folder":        {map[string]string{"footer.html/x": ""}, []string{"DIR/footer.html is no file"}},
		// What strands people.
		"no way to go on":   {map[string]string{"new_window.html": "<p>Hello"}, []string{"DIR/new_window.html: trying out the page new_window", "is missing"}},
		"no reference":      {map[string]string{"body.html": "<h1>{{.Title}}</h1>"}, []string{"DIR/body.html: trying out", "is missing"}},
		"no main part":      {map[string]string{"page.html": "<title>{{.Title}}</title>"}, []string{"DIR/page.html: trying out", "is missing"}},
		"nothing to choose": {map[string]string{"picker.html": `<form id="picker" action="{{.Picker.Action}}"></form>`}, []string{"DIR/picker.html: trying out the page picker", "where the choice goes is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folderOf(t, c.files)
			_, err := Load(dir)
			if err == nil {
				t.Fatal("it was loaded")
			}
			said := strings.ReplaceAll(err.Error(), dir, "DIR")
			for _, want := range c.want {
				if !strings.Contains(said, want) {
					t.Errorf("%s\nexpected %s", said, want)
				}
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a folder that is not there: %v", err)
	}
	many := map[string]string{}
	for i := range maxFiles + 1 {
		many["_"+strings.Repeat("x", i)+".html"] = ""
	}
	if _, err := Load(folderOf(t, many)); err == nil || !strings.Contains(err.Error(), "more than 200 files") {
		t.Errorf("many files: %v", err)
	}
}

// A text is a text, whatever stands in it.
func TestTextsAreNoMarkup(t *testing.T) {
	r := loadFolder(t, map[string]string{"texts/en.json": `{"words": {"open_window": "<img src=x>"}, "pages": {"new_window": {"title": "</title><script>alert(1)</script>"}}}`})
	_, body := written(t, r.English(), Page{ID: "new_window", Window: sampleForm()})
	if strings.Contains(body, "<script") || strings.Contains(body, "<img") {
		t.Errorf("a text became markup: %s", body)
	}
}

// The folder that the documentation shows is one to begin with.
func TestDocumentedFolder(t *testing.T) {
	const dir = "../../examples/pages"
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, body := written(t, r.In("nl", nil), Page{ID: "session_missing"})
	for _, want := range []string{"Open dit vanuit je cursus", "moodle.university.example</a>", "Universiteit Voorbeeld", `src="data:image/svg&#43;xml;base64,`, "--mark: #8a1538"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	doc, err := os.ReadFile("../../docs/pages.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, name := range []string{"texts/nl.json", "session_missing.html", "footer.html", "style.css"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(doc), "\n"+string(data)+"```\n") && strings.Contains(string(doc), "`examples/pages/"+name+"`") {
			shown++
		} else {
			t.Errorf("docs/pages.md does not show %s as it is", name)
		}
	}
	// Every value that templates are given is documented, and none that is not.
	documented := make(map[string]bool)
	for _, row := range regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(string(doc), -1) {
		for _, m := range regexp.MustCompile("`\\.(\\w+)`").FindAllStringSubmatch(row[1], -1) {
			documented[m[1]] = true
		}
	}
	given := map[string]bool{"Fill": true, "Time": true, "Number": true}
	for _, typ := range []reflect.Type{reflect.TypeFor[view](), reflect.TypeFor[Page](), reflect.TypeFor[Text]()} {
		for f := range typ.Fields() {
			if !f.Anonymous {
				given[f.Name] = true
			}
		}
	}
	for _, own := range []string{"Frames", "TellOrigin"} { // for the head of the answer
		delete(given, own)
	}
	for name := range given {
		if !documented[name] {
			t.Errorf("docs/pages.md does not say what .%s is", name)
		}
	}
	for name := range documented {
		if !given[name] {
			t.Errorf("docs/pages.md has .%s, which is not given", name)
		}
	}
}
