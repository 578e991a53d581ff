package devlms

import (
	"net/http"
	"net/url"
	"strings"
)

// Values of Handler.Storage.
const (
	storageOff    = "off"
	storageFrame  = "frame"
	storageParent = "parent"
)

// storageFrameName is what Canvas calls the frame that answers for its storage.
const storageFrameName = "post_message_forwarding"

// storageMode is how values are kept for tools: as it was switched at run time, or
// else as configured.
func (p *platform) storageMode() string {
	if mode := p.state.storageSwitch(); mode != "" {
		return mode
	}
	return p.storage
}

// storageTarget is the lti_storage_target that tools are told: the frame, or
// the window itself. It is empty where nothing is kept for them.
func (p *platform) storageTarget() string {
	switch p.storageMode() {
	case storageFrame:
		return storageFrameName
	case storageParent:
		return "_parent"
	}
	return ""
}

// listener is what a page tells the script that answers the messages of tools.
type listener struct {
	Version string // of the script
	Origins string // whose values are kept; "" means: nothing is kept
	Frame   string // which frame keeps them; "" means: the window of the page itself
}

// listener is the one for the pages that show an activity.
func (p *platform) listener(v *visit) listener {
	l := listener{Version: messagesVersion}
	mode := p.storageMode()
	if mode == storageOff {
		return l
	}
	var urls []string
	for _, t := range p.known(p.state.book(v.issuer)) {
		urls = append(urls, t.origins()...)
	}
	l.Origins = origins(urls)
	if mode == storageFrame {
		l.Frame = storageFrameName
	}
	return l
}

// storagePage is the frame that keeps the values. It is for nobody in
// particular, so a browser that keeps back the LMS's cookie gets it as well.
func (p *platform) storagePage(v *visit) error {
	if p.storageMode() != storageFrame {
		return p.notFound(v)
	}
	l := p.listener(v)
	l.Frame = ""
	return p.render(v, "storage", listenPolicy, http.StatusOK, page{Title: "Storage for tools", Bare: true, Body: l})
}

// origins lists the origins of URLs, each once, as HTML attributes want them. What
// is no URL has none.
func origins(urls []string) string {
	var list []string
	seen := make(map[string]bool)
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" {
			continue
		}
		origin := u.Scheme + "://" + u.Host
		if !seen[origin] {
			seen[origin] = true
			list = append(list, origin)
		}
	}
	return strings.Join(list, " ")
}
