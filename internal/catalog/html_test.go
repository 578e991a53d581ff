package catalog

import (
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/unicode"
)

func TestReadHead(t *testing.T) {
	latin, _ := charmap.ISO8859_1.NewEncoder().String(`<meta charset="iso-8859-1"><title>Größe</title>`)
	bare, _ := charmap.Windows1252.NewEncoder().String(`<title>Größe – gut</title>`)
	sjis, _ := japanese.ShiftJIS.NewEncoder().String(`<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS"><title>数学の問題</title>`)
	utf16, _ := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(`<title>Größe</title>`)
	for _, tc := range []struct {
		name, in string
		want     head
	}{
		{"everything", `<!doctype html><html lang=en><head><meta charset=utf-8><title>A &amp; B</title>
			<meta name="description" content="What it is about"><meta property="og:image" content="i.png">
			<meta name="lti:score-maximum" content="12.5"></head><body><h1>Other</h1>`, head{title: "A & B", text: "What it is about", image: "i.png", score: 12.5}},
		{"nothing", ``, head{}},
		{"no markup", `Hello`, head{}},
		{"spaces", "<title>\n  A \t\u00a0 B\n</title>", head{title: "A B"}},
		{"markup in a title is text", `<title>The <b> element</title>`, head{title: "The <b> element"}},
		{"heading", `<body><p>x</p><h1>Chapter <em>one</em><br>Start<script>x</script></h1><h1>two</h1>`, head{title: "Chapter one Start"}},
		{"heading after an empty title", `<title> </title><body><h1>Chapter</h1>`, head{title: "Chapter"}},
		{"empty heading", `<h1><img src=x></h1><h1>Chapter</h1>`, head{title: "Chapter"}},
		{"title late", `<div>x</div><title>Late</title>`, head{title: "Late"}},
		{"first title", `<title>One</title><title>Two</title>`, head{title: "One"}},
		{"title of a picture", `<body><svg><title>Picture</title></svg><h1>Page</h1>`, head{title: "Page"}},
		{"script", `<script>document.write("<title>x</title>")</script><title>Page</title>`, head{title: "Page"}},
		{"comment", `<!-- <title>x</title> --><title>Page</title>`, head{title: "Page"}},
		{"not closed", `<title>Page`, head{title: "Page"}},
		{"heading not closed", `<h1>Page`, head{title: "Page"}},
		{"upper case", `<TITLE>Page</TITLE><META NAME="Description" CONTENT="Text">`, head{title: "Page", text: "Text"}},
		{"meta after the head", `<head><title>Page</title></head><body><meta name=description content=x>`, head{title: "Page"}},
		{"og:description", `<title>Page</title><meta property=og:description content=og>`, head{title: "Page", text: "og"}},
		{"description first", `<meta property=og:description content=og><meta name=description content=plain><title>Page</title>`, head{title: "Page", text: "plain"}},
		{"noindex", `<title>Page</title><meta name=robots content="follow, NOINDEX">`, head{title: "Page", hidden: true}},
		{"none", `<title>Page</title><meta name=robots content="none">`, head{title: "Page", hidden: true}},
		{"index", `<title>Page</title><meta name=robots content="index,noarchive">`, head{title: "Page"}},
		{"sent on", `<meta http-equiv="Refresh" content="0; url=new.html"><title>Page</title>`, head{title: "Page", hidden: true}},
		{"reloads", `<meta http-equiv="refresh" content="30"><title>Page</title>`, head{title: "Page"}},
		{"reloads at once", `<meta http-equiv="refresh" content="0;"><title>Page</title>`, head{title: "Page"}},
		{"goes on later", `<meta http-equiv="refresh" content="30; url=next.html"><title>Page</title>`, head{title: "Page"}},
		{"sent on without scripts", `<noscript><meta http-equiv="refresh" content="0; url=nojs.html"></noscript><title>Page</title>`, head{title: "Page"}},
		{"goes on after noscript", `<title>Page</title><noscript><b>x</b></noscript><script></script><style></style><meta name=description content=d>`, head{title: "Page", text: "d"}},
		{"points that are none", `<meta name="lti:score-maximum" content="-3"><meta name="lti:score-maximum" content="NaN"><meta name="lti:score-maximum" content="many"><title>Page</title>`, head{title: "Page"}},
		{"control characters", "<title>a\x01\x1fb\u202ec</title>", head{title: "abc"}},
		{"no text at all", "<title>\x01\u202e</title><h1>Page</h1>", head{title: "Page"}},
		{"latin-1", latin, head{title: "Größe"}},
		{"windows-1252 without a word", bare, head{title: "Größe – gut"}},
		{"UTF-8 without a word", strings.Repeat(" ", 2000) + "<title>Größe</title>", head{title: "Größe"}},
		{"UTF-8 with a mark", "\ufeff<title>Größe</title>", head{title: "Größe"}},
		{"Shift_JIS", sjis, head{title: "数学の問題"}},
		{"UTF-16", utf16, head{title: "Größe"}},
		{"long", "<title>" + strings.Repeat("ü", 300) + "</title>", head{title: strings.Repeat("ü", 199) + "…"}},
		{"long, in words", "<title>" + strings.Repeat("four ", 60) + "</title>", head{title: strings.TrimSpace(strings.Repeat("four ", 40)) + "…"}},
		{"just not too long", "<title>" + strings.Repeat("ü", 200) + " </title>", head{title: strings.Repeat("ü", 200)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := readHead([]byte(tc.in)); got != tc.want {
				t.Errorf("%+v, expected %+v", got, tc.want)
			}
		})
	}
}

func TestTitleOf(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"/", "/"},
		{"/chapter-10_the%20end.html", "Chapter 10 the end"},
		{"/course/", "Course"},
		{"/%C3%BCbung.HTM", "Übung"},
		{"/v1.2", "V1.2"},
		{"/page?id=3", "Page"},
		{"/-_-.html", "/-_-.html"},
	} {
		if got := titleOf(tc.in); got != tc.want {
			t.Errorf("titleOf(%q) = %q, expected %q", tc.in, got, tc.want)
		}
	}
}

func FuzzReadHead(f *testing.F) {
	for _, s := range []string{
		`<title>a</title><meta name=description content=b>`, `<h1>a<br>b</h1>`, `<svg><title>x</title></svg>`, "\ufeff<title>ü", "\xff\xfe<\x00t\x00",
		`<meta charset=utf-16><title>x</title>`, `<meta charset=iso-2022-jp>` + "\x1b$B", `<title>&#0;&#x202e;&notanentity;</title>`, `<noscript><title>`,
		`<meta http-equiv=refresh content="0;url=x">`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h := readHead(data)
		for s, limit := range map[string]int{h.title: maxTitle, h.text: maxText} {
			if !utf8.ValidString(s) || utf8.RuneCountInString(s) > limit || s != tidy(s, limit) || strings.ContainsAny(s, "\x00\n\u202e") {
				t.Fatalf("%q gives %q", data, s)
			}
		}
		it := Item{Path: "/p", Title: h.title, Text: h.text, ScoreMaximum: h.score}
		if err := new(site).check(&it); err != nil {
			t.Fatalf("%q gives what is no item: %v", data, err)
		}
		if image := new(site).image(h.image, "/a/b.html"); image != "" {
			if again, err := CleanPath(image); err != nil || again != image {
				t.Fatalf("%q gives the image %q", data, image)
			}
		}
	})
}
