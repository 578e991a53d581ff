package devlms

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// claimDeepLink begins the names of the claims of Deep Linking 2.0.
const claimDeepLink = "https://purl.imsglobal.org/spec/lti-dl/claim/"

// askedLifetime is how long a teacher may take to choose content.
const askedLifetime = time.Hour

// Types of content items (Deep Linking 2.0 §3).
const (
	itemResourceLink = "ltiResourceLink"
	itemLink         = "link"
	itemFile         = "file"
	itemHTML         = "html"
	itemImage        = "image"
)

var (
	itemTypes = []string{itemResourceLink, itemLink, itemFile, itemHTML, itemImage}
	// itemTargets are the document targets of Deep Linking 2.0 §4.4.1.
	itemTargets = []string{targetIframe, targetWindow, targetEmbed}
)

// deepLinkOn tells whether content of the tool can be added.
func (t *Tool) deepLinkOn() bool { return t.isOn(t.DeepLinking) }

// deepLinkURL is the target_link_uri of deep linking.
func (t *Tool) deepLinkURL() string {
	if t.DeepLinkingURL != "" {
		return t.DeepLinkingURL
	}
	return t.RedirectURIs[0]
}

// origins lists where the tool is at home.
func (t *Tool) origins() []string {
	urls := append([]string{t.LoginURL, t.DeepLinkingURL}, t.RedirectURIs...)
	for _, l := range t.Links {
		urls = append(urls, l.TargetLinkURI)
	}
	if t.grant != nil {
		for _, m := range t.grant.from.links() {
			urls = append(urls, m.Target)
		}
	}
	return urls
}

// deepLink is a deep linking request.
type deepLink struct {
	id       string
	issuer   string
	tool     string
	person   string
	course   string
	data     string // "" if none was sent
	settings *settings
	expires  time.Time
	answered bool // under the lock of the state
}

// name is the id; what is no deep linking request has none.
func (d *deepLink) name() string {
	if d == nil {
		return ""
	}
	return d.id
}

// settings are what a request says of the content that is wanted.
type settings struct {
	Types      []string
	Targets    []string
	MediaTypes string
	// Each is optionOn, optionOff or "": not said.
	Multiple, LineItem, AutoCreate string
	Title, Text                    string
	Data                           bool
}

// parseSettings reads what one request is to say from the query of its page, so
// that each can be another one. What is left out is as generous as possible.
func parseSettings(query url.Values) (*settings, error) {
	s := &settings{
		Types: itemTypes, Targets: itemTargets, Multiple: optionOn, LineItem: optionOn,
		// Nobody is asked before content is added.
		AutoCreate: optionOn, Data: true,
	}
	for name, values := range query {
		value := strings.Join(values, " ")
		var toggle *string
		switch name {
		case "accept_types":
			s.Types = strings.Fields(value)
			if i := slices.IndexFunc(s.Types, func(t string) bool { return !slices.Contains(itemTypes, t) && !isExtension(t) }); i >= 0 {
				return nil, fmt.Errorf("accept_types: bad value %q: expected %s or a URL", truncate(s.Types[i]), strings.Join(itemTypes, ", "))
			}
			continue
		case "accept_presentation_document_targets":
			s.Targets = strings.Fields(value)
			if i := slices.IndexFunc(s.Targets, func(t string) bool { return !slices.Contains(itemTargets, t) }); i >= 0 {
				return nil, fmt.Errorf("%s: bad value %q: expected %s", name, truncate(s.Targets[i]), strings.Join(itemTargets, ", "))
			}
			continue
		case "accept_media_types":
			s.MediaTypes = value
			continue
		case "title":
			s.Title = value
			continue
		case "text":
			s.Text = value
			continue
		case "data":
			s.Data = value == optionOn
			if err := checkSwitch(value); err != nil {
				return nil, fmt.Errorf("data: %w", err)
			}
			continue
		case "accept_multiple":
			toggle = &s.Multiple
		case "accept_lineitem":
			toggle = &s.LineItem
		case "auto_create":
			toggle = &s.AutoCreate
		default:
			return nil, fmt.Errorf("unknown setting %q", truncate(name))
		}
		*toggle = value
		if value == "none" {
			*toggle = ""
		} else if err := checkSwitch(value); err != nil {
			return nil, fmt.Errorf("%s: %w, or none", name, err)
		}
	}
	return s, nil
}

// Accepts tells whether a type of item was asked for.
func (s *settings) Accepts(kind string) bool { return slices.Contains(s.Types, kind) }

// claim is the one of Deep Linking 2.0 §4.4.1.
func (d *deepLink) claim() map[string]any {
	s := d.settings
	claim := map[string]any{
		"deep_link_return_url":                 d.issuer + "/deeplink/return/" + d.course + "?launch=" + d.id,
		"accept_types":                         s.Types,
		"accept_presentation_document_targets": s.Targets,
	}
	for name, value := range map[string]string{
		"accept_media_types": s.MediaTypes, "title": s.Title, "text": s.Text, "data": d.data,
	} {
		if value != "" {
			claim[name] = value
		}
	}
	for name, value := range map[string]string{
		"accept_multiple": s.Multiple, "accept_lineitem": s.LineItem, "auto_create": s.AutoCreate,
	} {
		if value != "" {
			claim[name] = value == optionOn
		}
	}
	return claim
}

// deepLinkToken returns the claims of a deep linking request (Deep Linking 2.0
// §4.4). It is about no link, and no line item.
func (p *platform) deepLinkToken(issuer, nonce string, who *person, c *course, t *Tool, d *deepLink) map[string]any {
	claims := p.messageClaims(messageDeepLink, issuer, nonce, who, c, t)
	claims[claimPrefix+"target_link_uri"] = t.deepLinkURL()
	claims[claimPrefix+"launch_presentation"] = presentation(issuer, who, c, targetIframe)
	claims[claimPrefix+"custom"] = p.custom(issuer, who, c, t, nil)
	if endpoint := lineItemsClaim(issuer, c, t); endpoint != nil {
		claims[claimEndpoint] = endpoint
	}
	claims[claimDeepLink+"deep_linking_settings"] = d.claim()
	return claims
}

// linkable returns the tool that content is to be added from, and the settings.
func (p *platform) linkable(v *visit) (*Tool, *settings, error) {
	t := p.toolByName(p.state.book(v.issuer), v.args[1])
	if t == nil || !t.deepLinkOn() {
		return nil, nil, errors.New("no tool of this name offers content")
	}
	query, err := url.ParseQuery(v.r.URL.RawQuery)
	if err != nil {
		return nil, nil, fmt.Errorf("the query cannot be read: %w", err)
	}
	s, err := parseSettings(query)
	return t, s, err
}

// addPage shows the tool in which a teacher chooses content. Its query is that of
// the launch.
func (p *platform) addPage(v *visit, c *course) error {
	t, s, err := p.linkable(v)
	if err != nil {
		return p.refuse(v, http.StatusBadRequest, "Not understood", "Content cannot be added like this: "+err.Error()+".")
	}
	start := url.URL{Path: "/deeplink/start/" + c.ID + "/" + t.Name, RawQuery: v.r.URL.RawQuery}
	l := p.listener(v)
	return p.render(v, "add", framePolicy, http.StatusOK, page{Title: "Add content from " + t.Title, Body: struct {
		Course   *course
		Tool     *Tool
		Start    string
		Allow    string
		Listener *listener
		Settings *settings
		Types    []string
	}{c, t, start.String(), permissions(t, t.deepLinkURL()), &l, s, itemTypes}})
}

// startDeepLink begins a deep linking launch as initiate does a launch.
func (p *platform) startDeepLink(v *visit, c *course) error {
	t, s, err := p.linkable(v)
	if err != nil {
		return p.refuse(v, http.StatusBadRequest, "Not understood", "Content cannot be added like this: "+err.Error()+".")
	}
	d := &deepLink{
		id: rand.Text(), issuer: v.issuer, tool: t.Name, person: v.person.ID, course: c.ID,
		settings: s, expires: p.now().Add(askedLifetime),
	}
	if s.Data {
		// As the hint, it is to come through unharmed.
		data, err := json.Marshal(map[string]string{"é": `"&amp;+%20`, "for": rand.Text()})
		if err != nil {
			return fmt.Errorf("making the data of a deep linking request: %w", err)
		}
		d.data = string(data)
	}
	return p.postLogin(v, t, t.deepLinkURL(), launch{course: c.ID, asked: d})
}
