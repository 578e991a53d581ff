package caddylti

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-lti/lti/internal/catalog"
	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/lti"
)

// Items is what teachers choose from when they add content to a course (Deep
// Linking 2.0): pages of a folder, entries of the configuration, lists in JSON.
type Items struct {
	// Folders are directories whose pages can be chosen. Default: none.
	Folders []*ItemFolder `json:"folders,omitempty"`

	// Exclude lists paths of pages in folders that cannot be chosen, in the
	// forms that Public has. Default: none.
	Exclude []string `json:"exclude,omitempty"`

	// Entries are single pages. They win over the same page in a list or folder.
	// Default: none.
	Entries []*ItemEntry `json:"entries,omitempty"`

	// Lists are JSON documents with items: the path of a file in the site's root,
	// or the http or https URL of one that the app makes. Default: none.
	Lists []string `json:"lists,omitempty"`

	fetch []func(root string) catalog.List // of Lists
	fixed []catalog.Item                   // of Entries
	// relative is set if something lies within the site's root.
	relative bool

	mu     sync.Mutex
	open   map[string]*catalog.Catalog // by root and origin
	closed bool
}

// ItemFolder is a directory of pages.
type ItemFolder struct {
	// Dir is the directory; if it is relative, within the site's root. Required.
	Dir string `json:"dir"`

	// At is the path at which the site has it. Default: that of Dir within the
	// site's root, or /.
	At string `json:"at,omitempty"`
}

// ItemEntry is a page that can be chosen.
type ItemEntry struct {
	// Path is where it is; it may have a query. Required.
	Path string `json:"path"`

	// Title is what it is called. Required.
	Title string `json:"title"`

	// Text describes it. Default: none.
	Text string `json:"text,omitempty"`

	// Image is the path of a picture of the site. Default: none.
	Image string `json:"image,omitempty"`

	// ScoreMaximum is what can be reached there. Default: it is not graded.
	ScoreMaximum float64 `json:"score_maximum,omitempty"`

	// ResourceID is what it is known by, also when its path has changed.
	// Default: the path.
	ResourceID string `json:"resource_id,omitempty"`

	// Tag is that of its line item. Default: none.
	Tag string `json:"tag,omitempty"`

	// Custom are custom parameters of its launches. Default: none.
	Custom map[string]string `json:"custom,omitempty"`
}

// itemParam is the custom parameter with the identity of an item, which a copied
// course still has.
const itemParam = "item"

// itemPathParam is the one with the path at which the item was then.
const itemPathParam = "item_path"

// itemPatience is how long a launch waits for the catalogue.
const itemPatience = 300 * time.Millisecond

// maxCatalogs bounds the roots of one site that are kept in memory.
const maxCatalogs = 64

func (e *ItemEntry) item() catalog.Item {
	return catalog.Item{
		Path: e.Path, Title: e.Title, Text: e.Text, Image: e.Image,
		ScoreMaximum: e.ScoreMaximum, ResourceID: e.ResourceID, Tag: e.Tag, Custom: e.Custom,
	}
}

func (h *Handler) provisionItems() error {
	i := h.Items
	if i == nil {
		return nil
	}
	if len(i.Folders) == 0 && len(i.Entries) == 0 && len(i.Lists) == 0 {
		return errors.New("items: nothing to choose from: write folder, item or json")
	}
	for _, p := range i.Exclude {
		if err := checkPattern(p); err != nil {
			return fmt.Errorf("items: exclude %q: %w", p, err)
		}
	}
	for _, f := range i.Folders {
		if f == nil || f.Dir == "" {
			return errors.New("items: folder: no directory")
		}
		if !filepath.IsAbs(f.Dir) {
			i.relative = true
			if f.At == "" && !filepath.IsLocal(f.Dir) {
				return fmt.Errorf("items: folder %s leads out of the site's root: say where the site has it, as in folder %s /docs/", f.Dir, f.Dir)
			}
		}
		if f.At == "" {
			continue
		}
		if c := classify(f.At); c.odd || h.under(c.path) {
			return fmt.Errorf("items: folder %s at %q: expected the path of a folder outside of %s", f.Dir, f.At, h.Base)
		}
	}
	for _, e := range i.Entries {
		if e == nil {
			return errors.New("items: item: null")
		}
		if e.Custom[itemParam] != "" || e.Custom[itemPathParam] != "" {
			return fmt.Errorf("items: item %s: custom: %s and %s name the item, which is done without them", e.Path, itemParam, itemPathParam)
		}
		i.fixed = append(i.fixed, e.item())
	}
	for _, l := range i.Lists {
		i.relative = i.relative || strings.HasPrefix(l, "/")
		fetch, err := h.itemList(l)
		if err != nil {
			return fmt.Errorf("items: json %q: %w", l, err)
		}
		i.fetch = append(i.fetch, fetch)
	}
	i.open = make(map[string]*catalog.Catalog)
	// Entries are checked now, where an error stops the configuration.
	_, err := catalog.New(catalog.Config{Reserved: h.notOfSite, Entries: i.fixed, Logger: h.logger})
	if err != nil {
		return fmt.Errorf("items: %w", err)
	}
	return nil
}

// itemList makes what gets a list: from a file, or from the app.
func (h *Handler) itemList(l string) (func(root string) catalog.List, error) {
	if strings.HasPrefix(l, "/") {
		if classify(l).odd {
			return nil, errors.New("expected the path of a file in the site's root, or a URL")
		}
		return func(root string) catalog.List {
			return catalog.List{Name: l, Fetch: catalog.File(filepath.Join(root, filepath.FromSlash(l)))}
		}, nil
	}
	u, err := url.Parse(l)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("expected the path of a file in the site's root, or a URL")
	}
	client, err := h.app.clientFor(u)
	if err != nil {
		return nil, err
	}
	fetch := func(ctx context.Context) ([]byte, error) {
		resp, err := client.Get(ctx, l, "application/json", catalog.MaxList)
		if err != nil {
			return nil, err
		}
		return resp.Body, nil
	}
	return func(string) catalog.List { return catalog.List{Name: l, Fetch: fetch} }, nil
}

// clientFor returns a client that may also talk to the host of an address that
// the configuration names, for there is the app.
func (a *App) clientFor(u *url.URL) (*httpx.Client, error) {
	host, port := splitHost(u.Host)
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if !httpx.IsLocalHost(host) {
		if u.Scheme == "http" {
			return nil, errors.New("expected https, unless the app is on this machine")
		}
		return a.client, nil
	}
	cfg := a.clientConfig
	for _, addr := range []string{"127.0.0.1:" + port, "[::1]:" + port} {
		rule, err := httpx.ParseAllow(addr)
		if err != nil {
			return nil, err
		}
		cfg.AllowPrivate = append(slices.Clip(cfg.AllowPrivate), rule)
	}
	return httpx.New(cfg), nil
}

// notOfSite reports whether a decoded path is none of a page of this site: ours,
// or outside of the folder that the block is for.
func (h *Handler) notOfSite(path string) bool {
	parent := h.Base[:strings.LastIndexByte(h.Base, '/')+1]
	return h.under(path) || !strings.HasPrefix(path, parent)
}

// owns reports whether a URL is of a page of this site, so that a launch can open
// it.
func (h *Handler) owns(origin string, u *url.URL) bool {
	where := classifyURL(u)
	if u.Path == "" {
		where = location{path: "/"}
	}
	// A page of a launch that is long over would answer 401.
	return u.User == nil && u.Opaque == "" && originOf(u) == origin && !where.ambiguous() && !h.notOfSite(where.path) && !u.Query().Has(launchParam)
}

// catalog returns what can be chosen at the site's root of a request.
func (h *Handler) catalog(r *http.Request, origin string) (*catalog.Catalog, error) {
	root := ""
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		root, _ = repl.GetString("http.vars.root")
	}
	if root == "" && h.Items.relative {
		return nil, errors.New("items: a relative folder, or a json list by path, needs the site's root: write root * DIR in the site, or whole paths of folders with where the site has them")
	}
	i, key := h.Items, origin+" "+root
	i.mu.Lock()
	defer i.mu.Unlock()
	if c := i.open[key]; c != nil {
		return c, nil
	}
	if i.closed {
		return nil, errors.New("this configuration has ended")
	}
	cfg := catalog.Config{Origin: origin, Reserved: h.notOfSite, Entries: i.fixed, Logger: h.logger}
	for _, f := range i.Folders {
		dir, at := f.Dir, f.At
		if !filepath.IsAbs(dir) {
			if at == "" {
				at = strings.TrimSuffix("/"+filepath.ToSlash(filepath.Clean(dir)), "/.")
			}
			dir = filepath.Join(root, dir)
		}
		cfg.Folders = append(cfg.Folders, catalog.Folder{
			Dir: dir, URL: at, Exclude: func(path string) bool { return matchAny(i.Exclude, path) },
		})
	}
	for _, fetch := range i.fetch {
		cfg.Lists = append(cfg.Lists, fetch(root))
	}
	c, err := catalog.New(cfg)
	if err != nil {
		return nil, err
	}
	if len(i.open) >= maxCatalogs {
		for key, old := range i.open { // any one: it is read anew if it is needed
			delete(i.open, key)
			_ = old.Close()
			break
		}
	}
	i.open[key] = c
	return c, nil
}

// close ends what reads the catalogues.
func (i *Items) close() error {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	var errs []error
	for _, c := range i.open {
		errs = append(errs, c.Close())
	}
	clear(i.open)
	return errors.Join(errs...)
}

// itemTarget returns the page of the item that a launch names, where that is not
// the target of the launch itself: the platform has kept no more than the tool's
// own address, or the item is elsewhere by now. at is the path of the target, with
// its query, or empty for an address of the tool.
func (h *Handler) itemTarget(r *http.Request, l *lti.Launch, origin, at string) string {
	id := l.Custom[itemParam]
	if h.Items == nil || id == "" || (at != "" && at != l.Custom[itemPathParam]) {
		return ""
	}
	c, err := h.catalog(r, origin)
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(r.Context(), itemPatience)
	defer cancel()
	it, ok, err := c.Find(ctx, id)
	if err != nil || !ok {
		return ""
	}
	return origin + it.Path
}
