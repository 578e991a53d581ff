package caddylti

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
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
	// pickerPatience is how long the page waits for a catalogue that is read for
	// the first time.
	pickerPatience = 2 * time.Second
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
	loading bool // it cannot be said yet what is there
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
	if !activities(req) {
		ref.notes = []string{"accept_types: " + strings.Join(req.AcceptTypes, ", ")}
		return lti.Refuse(lti.CodeDeepLinkRefused, "the platform takes no ltiResourceLink here, which is all that the picker has")
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
	it, ok, err := c.find(r, id)
	switch {
	case err != nil:
		return err
	case c.loading:
		it = catalog.Item{ID: id, Title: title}
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

// find returns what an identity stands for, unless the catalogue is still being
// read.
func (c *choice) find(r *http.Request, id string) (catalog.Item, bool, error) {
	ctx, cancel := context.WithTimeout(r.Context(), pickerPatience)
	defer cancel()
	it, ok, err := c.catalog.Find(ctx, id)
	if errors.Is(err, catalog.ErrLoading) {
		c.loading = true
		err = nil
	}
	return it, ok, err
}

// points are a number as people write it. What could be a thousand is none.
var (
	pointsForm = regexp.MustCompile(`^[0-9]{1,9}([.,][0-9]{1,6})?$`)
	thousands  = regexp.MustCompile(`^[0-9]{1,3}[.,][0-9]{3}$`)
)

// maximum reads a maximum score; without one it is 0.
func maximum(s string) (float64, bool) {
	if s == "" {
		return 0, true
	}
	if !pointsForm.MatchString(s) || thousands.MatchString(s) {
		return 0, false
	}
	v, err := strconv.ParseFloat(strings.Replace(s, ",", ".", 1), 64)
	return v, err == nil && v > 0
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
		it, _, err := c.find(r, id)
		if err != nil {
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

// activities reports whether the platform takes activities, which is all that the
// picker has: a plain link to a page would not let anybody in.
func activities(req *deeplink.Request) bool {
	return slices.Contains(req.AcceptTypes, deeplink.TypeResourceLink)
}

// graded reports whether the platform takes line items.
func graded(req *deeplink.Request) bool { return req.AcceptLineItem == nil || *req.AcceptLineItem }

// maxResourceID is what every platform has room for.
const maxResourceID = 255

// resourceID is what the line item of an item is known by.
func resourceID(it *catalog.Item) string {
	if len(it.ID) <= maxResourceID {
		return it.ID
	}
	sum := sha256.Sum256([]byte(it.ID))
	return "item-" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// response is what the platform is told, or nil if something has to be put right
// first.
func (c *choice) response(req *deeplink.Request, cancel bool) *deeplink.Response {
	res := new(deeplink.Response)
	if cancel {
		return res
	}
	if len(c.items) == 0 || c.gone || c.loading {
		return nil
	}
	for _, it := range c.items {
		item := deeplink.Item{Type: deeplink.TypeResourceLink, URL: c.origin + it.Path, Title: it.title, Text: it.Text}
		if it.Image != "" {
			item.Thumbnail = &deeplink.Picture{URL: c.origin + it.Image}
		}
		item.Custom = map[string]string{}
		maps.Copy(item.Custom, it.Custom)
		item.Custom[itemParam] = it.ID
		if it.ID != it.Path {
			item.Custom[itemPathParam] = it.Path
		}
		if most, ok := maximum(it.points); graded(req) {
			if !ok {
				return nil
			}
			if most > 0 {
				item.LineItem = &deeplink.LineItem{ScoreMaximum: most, Label: it.title, ResourceID: resourceID(&it.Item), Tag: it.Tag}
			}
		}
		res.Items = append(res.Items, item)
	}
	return res
}

// showPicker writes the page.
func (h *Handler) showPicker(w http.ResponseWriter, r *http.Request, status int, v *visit, req *deeplink.Request, c *choice) error {
	ctx, cancel := context.WithTimeout(r.Context(), pickerPatience)
	defer cancel()
	found, err := c.catalog.Search(ctx, c.query, c.from, pickerPage)
	if err == nil && len(found.Items) == 0 && c.from > 0 {
		c.from = 0
		found, err = c.catalog.Search(ctx, c.query, 0, pickerPage)
	}
	slow := errors.Is(err, catalog.ErrLoading)
	if err != nil && !slow {
		return err
	}
	query := "?" + launchParam + "=" + v.facts.LaunchID
	p := &page.Picker{
		Action: h.Base + "/pick" + query, Answer: h.Base + "/deeplink" + query,
		Query: c.query, From: c.from, Total: found.Total, Earlier: -1, Later: -1,
		Multiple: req.AcceptMultiple, Points: graded(req), Slow: slow, Incomplete: found.Incomplete, Gone: c.gone,
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
	return h.in(r).Write(w, status, page.Page{ID: "picker", TellOrigin: true, Picker: p, Frames: h.derived(v).frames})
}
