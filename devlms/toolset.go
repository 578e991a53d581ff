package devlms

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jwkset"
)

// maxAddedTools bounds the tools that come at run time, per issuer.
const maxAddedTools = 100

// toolset holds the tools of an issuer that came at run time. They do not change
// once they are in it.
//
// Its lock is the innermost one: who holds that of the book may take it.
type toolset struct {
	mu    sync.RWMutex
	added []addedTool // oldest first

	waiting     []*applicant // for the administrator, oldest first
	deployments int          // how many were given out
}

type addedTool struct {
	*Tool

	activities []*activity
}

// addTool makes a tool known to an issuer as if it were configured: launches,
// services and content go on from there. Its fields are checked as those of the
// configuration are; from now on they must not change.
func (p *platform) addTool(b *book, t *Tool) error {
	if t.Title == "" {
		t.Title = t.Name
	}
	for _, l := range t.Links {
		if l.Target == "" {
			l.Target = targetIframe
		}
	}
	if err := t.check(); err != nil {
		return err
	}
	b.tools.mu.Lock()
	defer b.tools.mu.Unlock()
	if len(b.tools.added)+len(b.tools.waiting) >= maxAddedTools {
		return fmt.Errorf("there are %d tools already", maxAddedTools)
	}
	others := slices.Clone(p.tools)
	for _, a := range b.tools.added {
		others = append(others, a.Tool)
	}
	if p.takenLocked(&b.tools, t.Name) {
		return errors.New("there is a tool of this name already")
	}
	for _, other := range others {
		if other.ClientID == t.ClientID {
			return fmt.Errorf("client_id %q belongs to tool %s already", t.ClientID, other.Name)
		}
	}
	b.tools.added = append(b.tools.added, addedTool{t, activitiesOf(t)})
	return nil
}

// removeTool forgets a tool that came at run time, and what it has in the courses.
// It reports whether there was one.
func (p *platform) removeTool(b *book, name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	gone, ok := b.tools.take(name)
	if !ok {
		return false
	}
	p.state.forgetKeys(gone.JWKSURL)
	if p.toolByName(b, name) != nil { // a reload has given the name to a configured one
		return true
	}
	for _, a := range gone.activities {
		for _, c := range courses {
			b.forgetLink(a.resourceLinkID(c))
		}
	}
	b.contents = slices.DeleteFunc(b.contents, func(ct *content) bool {
		if ct.tool == name {
			b.forgetLink(ct.resourceLinkID())
		}
		return ct.tool == name
	})
	for _, key := range slices.Clone(b.order) {
		if b.items[key].tool == name {
			b.removeLocked(key)
		}
	}
	return true
}

func (s *toolset) take(name string) (addedTool, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.added, func(a addedTool) bool { return a.Name == name })
	if i < 0 {
		return addedTool{}, false
	}
	a := s.added[i]
	s.added = slices.Delete(s.added, i, i+1)
	return a, true
}

// added lists the tools that came at run time. Of a name or client id that a
// reload has given to a configured tool, only that one counts.
func (p *platform) added(b *book) []addedTool {
	b.tools.mu.RLock()
	defer b.tools.mu.RUnlock()
	return slices.DeleteFunc(slices.Clone(b.tools.added), func(a addedTool) bool {
		return slices.ContainsFunc(p.tools, func(t *Tool) bool { return t.Name == a.Name || t.ClientID == a.ClientID })
	})
}

// known lists the tools of an issuer: first those that are configured.
func (p *platform) known(b *book) []*Tool {
	tools := slices.Clone(p.tools)
	for _, a := range p.added(b) {
		tools = append(tools, a.Tool)
	}
	return tools
}

func (p *platform) toolByClient(b *book, clientID string) *Tool {
	for _, t := range p.known(b) {
		if t.ClientID == clientID {
			return t
		}
	}
	return nil
}

func (p *platform) toolByName(b *book, name string) *Tool {
	for _, t := range p.known(b) {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// fetcher returns the client for the key set of a tool. Where anybody may come and
// be the administrator, localhost in the URL of a tool that came at run time does
// not mean this machine.
func (p *platform) fetcher(v *visit, t *Tool) jwkset.Fetcher {
	if f, ok := p.fetchers[t.Name]; ok {
		return f
	}
	return passingFetcher{p, t, isLocal(v.r.Host)}
}

// passingFetcher keeps no connections: a tool that came at run time may go at any
// time. It is a value that can be compared, as key sets do with fetchers.
type passingFetcher struct {
	p     *platform
	tool  *Tool
	local bool // localhost means this machine
}

func (f passingFetcher) Get(ctx context.Context, url, accept string, maxBytes int64) (*httpx.Response, error) {
	rules := f.p.allow
	if f.local {
		rules = append(localRules(f.tool.JWKSURL), rules...)
	}
	client := newFetcher(rules)
	defer client.CloseIdle()
	return client.Get(ctx, url, accept, maxBytes)
}
