package caddylti

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/caddy-lti/lti/deeplink"
	"github.com/caddy-lti/lti/internal/catalog"
	"github.com/caddy-lti/lti/internal/page"
	"github.com/caddy-lti/lti/lti"
)

const (
	// pickerPage is how many items are shown at a time.
	pickerPage = 20
	// maxChoice is how many items can be chosen at a time.
	maxChoice   = deeplink.MaxItems
	maxPickForm = 256 << 10
	maxQuery    = 200 // bytes
	maxItemName = 200 // runes
)

// choice is what the picker's form says: which part of the list is shown, and
// what has been chosen. Of items the browser names the identity only.
type choice struct {
	origin  string
	catalog *catalog.Catalog
	query   string
	from    int
	items   []chosen
	gone    bool // something that was chosen is no longer there
}

type chosen struct {
	catalog.Item
	title  string
	points string
	wrong  bool
}

// servePick shows the built-in picker.
func (h *Handler) servePick(w http.ResponseWriter, r *http.Request) error {
	ref := &refusal{form: true}
	if err := h.pick(w, r, ref); err != nil {
		ref.err = err
		return h.refuse(w, r, ref)
	}
	return nil
}

func (h *Handler) pick(w http.ResponseWriter, r *http.Request, ref *refusal) error {
	ready, v, err := h.picking(r)
	if v != nil {
		ref.platform = v.facts.Platform
	}
	if err != nil {
		return err
	}
	req, err := h.request(r, ready, v)
	if err != nil {
		return err
	}
	if itemType(req) == "" {
		ref.notes = []string{"accept_types: " + strings.Join(req.AcceptTypes, ", ")}
		return lti.Refuse(lti.CodeDeepLinkRefused, "the platform takes neither ltiResourceLink nor link here, which is all that the picker has")
	}
	form := url.Values{}
	if r.Method == http.MethodPost {
		if form, err = readForm(w, r, maxPickForm); err != nil {
			return err
		}
	}
	c, err := h.readChoice(r, form)
	if err != nil {
		return err
	}
	if err := c.change(r, form, req.AcceptMultiple); err != nil {
		return err
	}
	return h.showPicker(w, r, http.StatusOK, v, req, c)
}

// readChoice reads the form of the picker.
func (h *Handler) readChoice(r *http.Request, form url.Values) (*choice, error) {
	origin, err := h.public(r)
	if err != nil {
		return nil, err
	}
	c := &choice{origin: origin, query: form.Get("q")}
	if c.catalog, err = h.catalog(r, origin); err != nil {
		return nil, err
	}
	if len(c.query) > maxQuery || !utf8.ValidString(c.query) {
		c.query = ""
	}
	if c.from, err = strconv.Atoi(form.Get("from")); err != nil || c.from < 0 {
		c.from = 0
	}
	ids, titles, points := form["id"], form["title"], form["points"]
	if len(ids) > maxChoice || len(titles) != len(ids) || len(points) != len(ids) {
		return nil, lti.Refuse(lti.CodeRequestMalformed, "the picker's form has %d ids, %d titles and %d maximum scores", len(ids), len(titles), len(points))
	}
	for i, id := range ids {
		if err := c.add(r, id, titles[i], points[i]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// add chooses an item, which may have been chosen before.
func (c *choice) add(r *http.Request, id, title, points string) error {
	if slices.ContainsFunc(c.items, func(it chosen) bool { return it.ID == id }) {
		return nil
	}
	it, ok, err := c.catalog.Find(r.Context(), id)
	switch {
	case err != nil && !errors.Is(err, catalog.ErrLoading):
		return err
	case !ok:
		c.gone = true
		return nil
	}
	made := chosen{Item: it, title: strings.TrimSpace(title), points: strings.TrimSpace(points)}
	if made.title == "" || utf8.RuneCountInString(made.title) > maxItemName {
		made.title = it.Title
	}
	_, ok = maximum(made.points)
	made.wrong = !ok
	c.items = append(c.items, made)
	return nil
}

// maximum reads a maximum score; without one it is 0.
func maximum(s string) (float64, bool) {
	if s == "" {
		return 0, true
	}
	v, err := strconv.ParseFloat(strings.Replace(s, ",", ".", 1), 64)
	if err != nil || len(s) > 20 || !(v > 0) || v > 1e9 {
		return 0, false
	}
	return v, true
}

// change does what one of the picker's buttons says.
func (c *choice) change(r *http.Request, form url.Values, multiple bool) error {
	switch {
	case form.Has("add"):
		if !multiple {
			c.items = nil
		}
		if len(c.items) >= maxChoice {
			return nil
		}
		id := form.Get("add")
		it, _, err := c.catalog.Find(r.Context(), id)
		if err != nil && !errors.Is(err, catalog.ErrLoading) {
			return err
		}
		points := ""
		if it.ScoreMaximum > 0 {
			points = strconv.FormatFloat(it.ScoreMaximum, 'f', -1, 64)
		}
		return c.add(r, id, it.Title, points)
	case form.Has("remove"):
		id := form.Get("remove")
		c.items = slices.DeleteFunc(c.items, func(it chosen) bool { return it.ID == id })
	case form.Has("go"):
		if from, err := strconv.Atoi(form.Get("go")); err == nil && from >= 0 {
			c.from = from
		}
	case form.Has("do"):
		c.from = 0
	}
	return nil
}

// itemType is the type that items have: activities, or pages of the web where
// the platform takes no activities.
func itemType(req *deeplink.Request) string {
	for _, typ := range []string{deeplink.TypeResourceLink, deeplink.TypeLink} {
		if slices.Contains(req.AcceptTypes, typ) {
			return typ
		}
	}
	return ""
}

// graded reports whether the platform takes line items.
func graded(req *deeplink.Request) bool {
	return itemType(req) == deeplink.TypeResourceLink && (req.AcceptLineItem == nil || *req.AcceptLineItem)
}

// response is what the platform is told, or nil if something has to be put right
// first.
func (c *choice) response(req *deeplink.Request, cancel bool) *deeplink.Response {
	res := new(deeplink.Response)
	if cancel {
		return res
	}
	if len(c.items) == 0 || c.gone {
		return nil
	}
	for _, it := range c.items {
		item := deeplink.Item{Type: itemType(req), URL: c.origin + it.Path, Title: it.title, Text: it.Text}
		if it.Image != "" {
			item.Thumbnail = &deeplink.Picture{URL: c.origin + it.Image}
		}
		if item.Type == deeplink.TypeResourceLink {
			item.Custom = map[string]string{itemParam: it.ID}
			maps.Copy(item.Custom, it.Custom)
		}
		if most, ok := maximum(it.points); graded(req) {
			if !ok {
				return nil
			}
			if most > 0 {
				item.LineItem = &deeplink.LineItem{ScoreMaximum: most, Label: it.title, ResourceID: it.ID, Tag: it.Tag}
			}
		}
		res.Items = append(res.Items, item)
	}
	return res
}

// showPicker writes the page.
func (h *Handler) showPicker(w http.ResponseWriter, r *http.Request, status int, v *visit, req *deeplink.Request, c *choice) error {
	found, err := c.catalog.Search(r.Context(), c.query, c.from, pickerPage)
	if err == nil && len(found.Items) == 0 && c.from > 0 {
		c.from = 0
		found, err = c.catalog.Search(r.Context(), c.query, 0, pickerPage)
	}
	slow := errors.Is(err, catalog.ErrLoading)
	if err != nil && !slow {
		return err
	}
	query := "?" + launchParam + "=" + v.facts.LaunchID
	p := &page.Picker{
		Action: h.Base + "/pick" + query, Answer: h.Base + "/deeplink" + query,
		Query: c.query, From: c.from, Total: found.Total, Earlier: -1, Later: -1,
		Multiple: req.AcceptMultiple, Points: graded(req), Slow: slow, Incomplete: found.Incomplete,
	}
	for _, it := range found.Items {
		p.Results = append(p.Results, page.Choice{
			ID: it.ID, Title: it.Title, Text: it.Text, Image: it.Image, Where: it.Path,
			Chosen: slices.ContainsFunc(c.items, func(o chosen) bool { return o.ID == it.ID }),
		})
	}
	if c.from > 0 {
		p.Earlier = max(0, c.from-pickerPage)
	}
	if c.from+len(found.Items) < found.Total {
		p.Later = c.from + pickerPage
	}
	for _, it := range c.items {
		p.Chosen = append(p.Chosen, page.Chosen{
			ID: it.ID, Title: it.title, Where: it.Path, Points: it.points, Wrong: it.wrong && status != http.StatusOK,
		})
	}
	return h.pages.Write(w, status, page.Page{ID: "picker", TellOrigin: true, Picker: p, Frames: h.derived(v).frames})
}
