package devlms

import (
	"slices"
	"strconv"
)

// grant is what a tool that registered itself may do and is told, and what its
// registration says beyond the fields of a tool.
type grant struct {
	from        *applicant
	scopes      []string
	claims      []string
	deepLinking map[string]string // custom parameters of the message
}

// granted returns those of the scopes that the tool's registration came to.
func (t *Tool) granted(scopes []string) []string {
	if t.grant == nil {
		return scopes
	}
	return slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return !slices.Contains(t.grant.scopes, s) })
}

// isTold tells whether the tool gets a claim about a person. Private people share
// only their language.
func (t *Tool) isTold(claim string, who *person) bool {
	return (claim == claimLocale || !who.Private) && (t.grant == nil || slices.Contains(t.grant.claims, claim))
}

// applicant is a tool that has registered itself, as it was answered. It does not
// change.
type applicant struct {
	*metadata

	Name       string
	ClientID   string
	Deployment string
}

// tool is what the administrator makes of an applicant: he can take away from the
// scopes and claims that it has asked for.
func (a *applicant) tool(allowed func(string) bool) *Tool {
	refused := func(s string) bool { return s != scopeOpenID && !allowed(s) }
	g := &grant{
		from:   a,
		scopes: slices.DeleteFunc(slices.Clone(a.Scopes), refused),
		claims: slices.DeleteFunc(slices.Clone(a.Claims), refused),
	}
	on := func(is bool) string {
		if is {
			return optionOn
		}
		return optionOff
	}
	t := &Tool{
		Name: a.Name, Title: truncate(a.ClientName), ClientID: a.ClientID, Deployment: a.Deployment,
		LoginURL: a.LoginURL, RedirectURIs: a.RedirectURIs, JWKSURL: a.JWKSURL, Custom: a.Custom, grant: g,
		AGS:         on(slices.ContainsFunc(agsScopes, func(s string) bool { return slices.Contains(g.scopes, s) })),
		NRPS:        on(slices.Contains(g.scopes, scopeMembers)),
		DeepLinking: optionOff, DeepLinkingURL: a.Target,
	}
	if m := a.deepLinking(); m != nil {
		t.DeepLinking, t.DeepLinkingURL, g.deepLinking = optionOn, m.Target, m.custom
	}
	return t
}

// apply takes the registration of a tool, which waits for the administrator from
// then on. A tool that registers again is another client.
func (p *platform) apply(b *book, m *metadata, clientID string) (*applicant, bool) {
	s := &b.tools
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.added)+len(s.waiting) >= maxAddedTools {
		return nil, false
	}
	s.deployments++
	base := slug(m.ClientName)
	if base = base[:min(len(base), 24)]; base[len(base)-1] == '-' {
		base = base[:len(base)-1]
	}
	a := &applicant{metadata: m, Name: base, ClientID: clientID, Deployment: strconv.Itoa(s.deployments)}
	for n := 2; p.takenLocked(s, a.Name); n++ {
		a.Name = base + "-" + strconv.Itoa(n)
	}
	s.waiting = append(s.waiting, a)
	return a, true
}

// takenLocked tells whether a tool has a name already.
func (p *platform) takenLocked(s *toolset, name string) bool {
	return slices.ContainsFunc(p.tools, func(t *Tool) bool { return t.Name == name }) ||
		slices.ContainsFunc(s.added, func(t addedTool) bool { return t.Name == name }) ||
		slices.ContainsFunc(s.waiting, func(a *applicant) bool { return a.Name == name })
}

// waiting lists the tools that have registered and are not activated.
func (p *platform) waiting(b *book) []*applicant {
	b.tools.mu.RLock()
	defer b.tools.mu.RUnlock()
	return slices.Clone(b.tools.waiting)
}

// activate makes an applicant a tool. It reports whether there is one.
func (p *platform) activate(b *book, name string, allowed func(string) bool) (bool, error) {
	a := b.tools.dismiss(name)
	if a == nil {
		return false, nil
	}
	if err := p.addTool(b, a.tool(allowed)); err != nil {
		b.tools.readmit(a)
		return true, err
	}
	return true, nil
}

// dismiss forgets an applicant, and returns it.
func (s *toolset) dismiss(name string) *applicant {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.waiting, func(a *applicant) bool { return a.Name == name })
	if i < 0 {
		return nil
	}
	a := s.waiting[i]
	s.waiting = slices.Delete(s.waiting, i, i+1)
	return a
}

func (s *toolset) readmit(a *applicant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, a)
}
