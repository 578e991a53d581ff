package catalog

import (
	"bytes"
	"cmp"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/charset"
)

const (
	// maxHead is how much of a file is read.
	maxHead = 64 << 10
	// maxRaw is how much of an element's text is kept before it is tidied.
	maxRaw = 4 << 10
)

// head is what a page says of itself.
type head struct {
	title string
	text  string
	image string // as it stands there
	score float64
	// hidden says that it does not want to be found, or sends the browser on
	// at once.
	hidden bool
}

// readHead reads the beginning of an HTML page.
func readHead(data []byte) head {
	var (
		h      head
		h1, og string
		body   bool   // it has begun
		inert  string // the element whose content says nothing of the page
		inside string // title or h1
		text   string // so far of that
	)
	complete := func() {
		if t := tidy(text, maxTitle); inside == "h1" {
			h1 = cmp.Or(h1, t)
		} else {
			h.title = cmp.Or(h.title, t)
		}
		inside, text = "", ""
	}
	z := html.NewTokenizer(bytes.NewReader(toUTF8(data)))
	for more := true; more && (!body || (h.title == "" && h1 == "")); {
		switch kind := z.Next(); kind {
		case html.ErrorToken: // the end
			more = false

		case html.CommentToken, html.DoctypeToken:

		case html.TextToken:
			if inside != "" && inert == "" && len(text) < maxRaw {
				text += string(z.Text())
			}

		case html.EndTagToken:
			tag, _ := z.TagName()
			switch name := string(tag); name {
			case inert:
				inert = ""
			case inside:
				complete()
			}

		case html.StartTagToken, html.SelfClosingTagToken:
			if inert != "" {
				continue
			}
			tag, attrs := z.TagName()
			switch name := string(tag); name {
			case "svg", "noscript", "template", "script", "style": // an svg has a title of its own
				if kind == html.StartTagToken {
					inert = name
				}
			case "title", "h1":
				body = body || name == "h1"
				if inside == "" {
					inside = name
				}
			case "meta":
				h.meta(z, attrs, &og)
			case "html", "head", "link", "base":
			default:
				body = true
				if name == "br" && inside != "" {
					text += " "
				}
			}
		}
	}
	complete()
	h.title, h.text = cmp.Or(h.title, h1), cmp.Or(h.text, og)
	return h
}

// meta reads a meta element, whose attributes come next.
func (h *head) meta(z *html.Tokenizer, more bool, og *string) {
	var name, equiv, content string
	for more {
		var k, v []byte
		k, v, more = z.TagAttr()
		switch string(k) {
		case "name", "property":
			name = cmp.Or(name, strings.ToLower(strings.TrimSpace(string(v))))
		case "http-equiv":
			equiv = strings.ToLower(strings.TrimSpace(string(v)))
		case "content":
			content = string(v)
		}
	}
	switch name {
	case "description":
		h.text = cmp.Or(h.text, tidy(content, maxText))
	case "og:description":
		*og = cmp.Or(*og, tidy(content, maxText))
	case "og:image":
		h.image = cmp.Or(h.image, strings.TrimSpace(content))
	case "robots":
		for word := range strings.FieldsFuncSeq(strings.ToLower(content), func(r rune) bool { return r == ',' || r == ' ' }) {
			h.hidden = h.hidden || word == "noindex" || word == "none"
		}
	case "lti:score-maximum":
		if v, err := strconv.ParseFloat(strings.TrimSpace(content), 64); err == nil && validScore(v) {
			h.score = v
		}
	}
	if equiv == "refresh" {
		wait, where, _ := strings.Cut(content, ";")
		seconds, err := strconv.ParseFloat(strings.TrimSpace(wait), 64)
		h.hidden = h.hidden || (err == nil && seconds <= 1 && strings.TrimSpace(where) != "")
	}
}

// toUTF8 decodes a page by its byte order mark or meta charset. What is UTF-8
// counts as that where it says nothing, or windows-1252, which decodes anything.
func toUTF8(data []byte) []byte {
	enc, name, _ := charset.DetermineEncoding(data[:min(len(data), 1024)], "")
	if name == "utf-8" || (name == "windows-1252" && utf8.Valid(whole(data))) {
		return data
	}
	if text, err := enc.NewDecoder().Bytes(data); err == nil {
		return text
	}
	return data
}

// whole cuts off the rune in which reading stopped.
func whole(data []byte) []byte {
	for i := len(data) - 1; i >= 0 && i >= len(data)-utf8.UTFMax; i-- {
		if utf8.RuneStart(data[i]) {
			if !utf8.FullRune(data[i:]) {
				return data[:i]
			}
			break
		}
	}
	return data
}
