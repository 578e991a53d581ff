package devlms

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// maxListed bounds the messages of one answer of /inspect.json, which come with
// their bodies.
const maxListed = 100

// filter is which messages are wanted; an empty field wants all.
type filter struct {
	Kind, Tool, Person, Launch string
	Failed                     bool
}

func filterOf(query url.Values) filter {
	return filter{query.Get("kind"), query.Get("tool"), query.Get("person"), query.Get("launch"), query.Get("outcome") == outcomeFailed}
}

func (f filter) wants(s *shownMessage) bool {
	return (f.Kind == "" || f.Kind == s.Kind) && (f.Tool == "" || f.Tool == s.Tool) &&
		(f.Person == "" || f.Person == s.Person) && (f.Launch == "" || f.Launch == s.Launch) &&
		(!f.Failed || s.Outcome == outcomeFailed)
}

// messages lists what a visitor may see, oldest first, and how many are forgotten.
func (p *platform) messages(v *visit) ([]*shownMessage, uint64) {
	list, dropped := p.state.journal.of(v.issuer)
	return p.show(list), dropped
}

// messageGroup is what belongs together.
type messageGroup struct {
	Title, About string
	Launch       string
	Messages     []*shownMessage
}

// Values of the parameter by of /inspect.
const (
	byTime   = ""
	byLaunch = "launch"
	byTool   = "tool"
)

// groups sorts messages that are given oldest first. The group with the latest
// message comes first; a launch is told from its beginning, the rest newest first.
func groups(list []*shownMessage, by string) []*messageGroup {
	var all []*messageGroup
	found := make(map[string]*messageGroup)
	for _, s := range slices.Backward(list) {
		key, g := "", &messageGroup{}
		switch {
		case by == byTime:
		case by == byLaunch && s.Launch != "":
			key, g.Launch = "launch "+s.Launch, s.Launch
		default:
			key, g.Title = "tool "+s.Tool, cmp.Or(s.ToolTitle, "Of no known tool")
			if by == byLaunch {
				g.Title, g.About = cmp.Or(s.ToolTitle, "No known tool"), "Outside of launches"
			}
		}
		if found[key] == nil {
			found[key] = g
			all = append(all, g)
		}
		g = found[key]
		g.Messages = append(g.Messages, s)
	}
	for _, g := range all {
		if g.Launch == "" {
			continue
		}
		slices.Reverse(g.Messages)
		for _, s := range g.Messages {
			g.Title = cmp.Or(g.Title, s.ToolTitle)
			g.About = cmp.Or(g.About, s.PersonName)
		}
		g.Title = cmp.Or(g.Title, "No known tool")
		if g.About != "" {
			g.About = " by " + g.About
		}
		g.About = g.Messages[0].sequence() + g.About
	}
	return all
}

// sequence is what the messages of a group are: a launch, or a registration.
func (s *shownMessage) sequence() string {
	if s.Kind == kindConfiguration || s.Kind == kindRegistration {
		return "Registration"
	}
	return "Launch"
}

// messageChoice is an entry of a list to choose from.
type messageChoice struct {
	Value, Label string
	Chosen       bool
}

// inspectPage lists messages.
func (p *platform) inspectPage(v *visit) error {
	query := v.r.URL.Query()
	f, by := filterOf(query), query.Get("by")
	if by != byLaunch && by != byTool {
		by = byTime
	}
	all, dropped := p.messages(v)
	tools := []messageChoice{{"", "every tool", f.Tool == ""}}
	persons := []messageChoice{{"", "everybody", f.Person == ""}}
	labels := []messageChoice{{"", "every kind", f.Kind == ""}}
	for _, k := range kinds {
		labels = append(labels, messageChoice{k.Kind, k.Label, f.Kind == k.Kind})
	}
	for _, who := range people {
		persons = append(persons, messageChoice{who.ID, who.Name(), f.Person == who.ID})
	}
	var wanted []*shownMessage
	for _, s := range all {
		known := func(c messageChoice) bool { return c.Value == s.Tool }
		if s.Tool != "" && !slices.ContainsFunc(tools, known) {
			tools = append(tools, messageChoice{s.Tool, s.ToolTitle, f.Tool == s.Tool})
		}
		if f.wants(s) {
			wanted = append(wanted, s)
		}
	}
	type tab struct {
		Label, URL string
		Current    bool
	}
	var tabs []tab
	for _, t := range []messageChoice{{byTime, "Newest first", false}, {byLaunch, "By launch", false}, {byTool, "By tool", false}} {
		query.Set("by", t.Value)
		tabs = append(tabs, tab{t.Label, "/inspect?" + query.Encode(), by == t.Value})
	}
	return p.render(v, "messages", refreshPolicy, http.StatusOK, page{Title: "Messages", Body: struct {
		Tabs                  []tab
		By                    string
		Filter                filter
		Kinds, Tools, Persons []messageChoice
		Groups                []*messageGroup
		Shown, All            int
		Dropped               uint64
		Version               string
	}{tabs, by, f, labels, tools, persons, groups(wanted, by), len(wanted), len(all), dropped, refreshVersion}})
}

// messagePage shows one message, and where it belongs.
func (p *platform) messagePage(v *visit) error {
	all, _ := p.messages(v)
	id, err := strconv.ParseUint(v.args[0], 10, 64)
	at := slices.IndexFunc(all, func(s *shownMessage) bool { return s.ID == id })
	if err != nil || at < 0 {
		return p.refuse(v, http.StatusNotFound, "No such message",
			"There is no message of this number, or it was dropped: only the latest are kept.")
	}
	s := all[at]
	p.complete(s)
	named := make(map[uint64]*shownMessage, len(all))
	var launch, uses []*shownMessage
	for _, other := range all {
		named[other.ID] = other
		if s.Launch != "" && other.Launch == s.Launch {
			launch = append(launch, other)
		}
	}
	for _, id := range s.Uses {
		uses = append(uses, named[id])
	}
	return p.render(v, "message", pagePolicy+"; script-src 'self'", http.StatusOK, page{Title: s.Label, Body: struct {
		*shownMessage

		Sequence string
		InLaunch []*shownMessage
		UsedBy   []*shownMessage
		Grant    *shownMessage
		Partner  *shownMessage
		Version  string
	}{s, s.sequence(), launch, uses, named[s.Granted], named[s.Other], copyVersion}})
}

// messagesJSON is the list for scripts, newest first.
func (p *platform) messagesJSON(v *visit) error {
	query := v.r.URL.Query()
	f := filterOf(query)
	limit := maxListed
	if n, err := strconv.Atoi(query.Get("limit")); err == nil && n > 0 {
		limit = min(n, maxListed)
	}
	before, err := strconv.ParseUint(query.Get("before"), 10, 64)
	if err != nil {
		before = 1 << 63
	}
	all, dropped := p.messages(v)
	answer := struct {
		Messages []*shownMessage `json:"messages"`
		Dropped  uint64          `json:"dropped"`
	}{Messages: []*shownMessage{}, Dropped: dropped}
	for _, s := range slices.Backward(all) {
		if len(answer.Messages) < limit && s.ID < before && f.wants(s) {
			p.complete(s)
			answer.Messages = append(answer.Messages, s)
		}
	}
	answerJSON(v, http.StatusOK, "application/json", answer)
	return nil
}

// clearMessages forgets all that the visitor sees.
func (p *platform) clearMessages(v *visit) error {
	if p.csrf.Check(v.r) != nil {
		return p.refuse(v, http.StatusForbidden, "Not from there", "Messages are forgotten from the pages of this LMS only.")
	}
	p.state.journal.clear(v.issuer)
	http.Redirect(v.w, v.r, "/inspect", http.StatusSeeOther)
	return nil
}
