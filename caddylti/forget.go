package caddylti

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-lti/lti/store"
)

// forget makes the browser forget what the site left there for the person
// before: the app's cookies, cached pages and stored data. Our own session
// cookie is replaced besides; Clear-Site-Data for cookies would take the new one
// with it.
func (h *Handler) forget(w http.ResponseWriter, r *http.Request, ready *ready) error {
	known, err := ready.book.load(r.Context(), h.site(r))
	if err != nil {
		return unavailable(err)
	}
	// Those that came along may have been set by scripts, or before us. Where
	// they are good is not known; most are good everywhere.
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			name, _, ok := strings.Cut(strings.TrimSpace(part), "=")
			if !ok || name == "" || ours(name) || len(known) >= 2*maxBooked {
				continue
			}
			for at := h.Base; ; {
				at = at[:strings.LastIndexByte(at, '/')]
				known = append(known, appCookie{Name: name, Path: at + "/"})
				if at == "" {
					break
				}
				known = append(known, appCookie{Name: name, Path: at})
			}
		}
	}
	hdr := w.Header()
	slices.SortFunc(known, compareCookies)
	for _, c := range slices.Compact(known) {
		// In the frame's jar, and the one of the site itself.
		gone := c.Name + "=; Path=" + c.Path + "; Max-Age=0; Secure; SameSite=None"
		if c.Domain != "" {
			gone += "; Domain=" + c.Domain
		}
		hdr.Add("Set-Cookie", gone+"; Partitioned")
		hdr.Add("Set-Cookie", gone)
	}
	hdr.Set("Clear-Site-Data", `"cache", "storage"`)
	return nil
}

// appCookie is where a cookie of the app is good.
type appCookie struct {
	Name   string `json:"n"`
	Path   string `json:"p"`
	Domain string `json:"d,omitempty"`
}

func compareCookies(a, b appCookie) int {
	return strings.Compare(a.Name+"\x00"+a.Path+"\x00"+a.Domain, b.Name+"\x00"+b.Path+"\x00"+b.Domain)
}

// maxBooked bounds the cookies that are remembered for a site. An app has few;
// those that it sets first are the ones it is about.
const maxBooked = 32

// cookieBook remembers which cookies the app of each site sets, and where they
// are good: a browser does not tell. It knows no values.
type cookieBook struct {
	store store.Store

	mu    sync.RWMutex
	sites map[string]*bookedSite
}

type bookedSite struct {
	list  []appCookie
	dirty bool // the store does not have it all
}

func newCookieBook(st store.Store) *cookieBook {
	return &cookieBook{store: st, sites: make(map[string]*bookedSite)}
}

func bookKey(site string) string { return "cookies:" + site }

// note enters a cookie of the app. It does not wait for the store.
func (b *cookieBook) note(site string, c appCookie) {
	b.mu.RLock()
	s := b.sites[site]
	known := s != nil && (slices.Contains(s.list, c) || len(s.list) >= maxBooked)
	b.mu.RUnlock()
	if known {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s = b.sites[site]; s == nil {
		s = new(bookedSite)
		b.sites[site] = s
	}
	if !slices.Contains(s.list, c) && len(s.list) < maxBooked {
		s.list, s.dirty = append(s.list, c), true
	}
}

// load returns what is known of a site, here and in the store.
func (b *cookieBook) load(ctx context.Context, site string) ([]appCookie, error) {
	if err := b.save(ctx, site); err != nil {
		return nil, err
	}
	val, err := b.store.Get(ctx, bookKey(site))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the app's cookies: %w", err)
	}
	var list []appCookie
	if err := json.Unmarshal(val, &list); err != nil {
		return nil, fmt.Errorf("reading the app's cookies: %w", err)
	}
	return list, nil
}

// save writes what is new of a site.
func (b *cookieBook) save(ctx context.Context, site string) error {
	for {
		b.mu.RLock()
		s := b.sites[site]
		var list []appCookie
		if s != nil && s.dirty {
			list = slices.Clone(s.list)
		}
		b.mu.RUnlock()
		if list == nil {
			return nil
		}
		old, err := b.store.Get(ctx, bookKey(site))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("storing the app's cookies: %w", err)
		}
		absent := err != nil
		var merged []appCookie
		if !absent {
			if err := json.Unmarshal(old, &merged); err != nil {
				return fmt.Errorf("reading the app's cookies: %w", err)
			}
		}
		for _, c := range list {
			if !slices.Contains(merged, c) && len(merged) < maxBooked {
				merged = append(merged, c)
			}
		}
		val, err := json.Marshal(merged)
		if err != nil {
			return err
		}
		var done bool
		if absent {
			done, err = b.store.PutIfAbsent(ctx, bookKey(site), val, 0)
		} else {
			done, err = b.store.Swap(ctx, bookKey(site), old, val, 0)
		}
		if err != nil {
			return fmt.Errorf("storing the app's cookies: %w", err)
		}
		if !done {
			continue // another node was faster
		}
		b.mu.Lock()
		s.dirty = len(s.list) != len(list)
		b.mu.Unlock()
		return nil
	}
}

// close writes what is new.
func (b *cookieBook) close() error {
	b.mu.RLock()
	sites := make([]string, 0, len(b.sites))
	for site := range b.sites {
		sites = append(sites, site)
	}
	b.mu.RUnlock()
	var errs []error
	for _, site := range sites {
		errs = append(errs, b.save(context.Background(), site))
	}
	return errors.Join(errs...)
}
