package devlms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/lab"
)

const (
	// labTime bounds a run of the laboratory, labPatience each of its requests.
	labTime     = 15 * time.Minute
	labPatience = 15 * time.Second

	// maxOffset is how far the clock may be put off.
	maxOffset = 24 * time.Hour

	// maxReports bounds the runs whose results are kept: the last of each tool.
	maxReports = 64
)

// laboratory is what only an LMS with the option lab has.
type laboratory struct {
	allow []httpx.AllowRule
	cases []*lab.Case
}

// labState is what the laboratory remembers over a reload.
type labState struct {
	running sync.Mutex // one run at a time: it breaks and changes keys

	mu      sync.Mutex
	reports map[string]*lab.Report // by issuer and tool
	asked   int                    // requests for the stranger's keys
}

func (s *labState) keep(key string, r *lab.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reports == nil {
		s.reports = make(map[string]*lab.Report)
	}
	if _, known := s.reports[key]; !known && len(s.reports) >= maxReports {
		clear(s.reports)
	}
	s.reports[key] = r
}

func (s *labState) report(key string) *lab.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reports[key]
}

// openLab switches the laboratory on, and the clock that it can put off.
func (p *platform) openLab(allow []httpx.AllowRule) {
	p.lab = &laboratory{allow: allow, cases: lab.Catalogue()}
	p.now = func() time.Time { return time.Now().Add(p.state.clockOffset()) }
}

// inLab serves what there is only with the option lab. Nothing of it works from
// pages of other sites.
func (p *platform) inLab(serve func(*visit) error) func(*visit) error {
	return func(v *visit) error {
		switch {
		case p.lab == nil:
			return p.notFound(v)
		case p.csrf.Check(v.r) != nil:
			return p.refuse(v, http.StatusForbidden, "Not from there", "The laboratory works from its own pages, and for scripts.")
		}
		return serve(v)
	}
}

// labPlatform is the demo LMS as the laboratory needs it.
type labPlatform struct {
	p *platform
	v *visit
}

// Key implements lab.Platform.
func (l labPlatform) Key() (lab.Key, error) {
	key, err := l.p.state.signingKey()
	if err != nil {
		return lab.Key{}, err
	}
	return lab.Key{ID: key.ID(), Private: key.Signer()}, nil
}

// Rotate implements lab.Platform.
func (l labPlatform) Rotate() (undo func(), err error) { return l.p.state.rotateKey() }

// BreakKeys implements lab.Platform.
func (l labPlatform) BreakKeys(value string) (undo func(), err error) {
	b := l.p.state.book(l.v.issuer)
	before := l.p.fault(b, targetKeys)
	f, err := parseFault(targetKeys, value)
	if err != nil {
		return nil, err
	}
	b.setFault(targetKeys, f)
	return func() { b.setFault(targetKeys, before) }, nil
}

// setFault switches one fault.
func (b *book) setFault(name string, f fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults[name] = f
	close(b.changed) // who hangs is let go
	b.changed = make(chan struct{})
}

// Stranger implements lab.Platform.
func (l labPlatform) Stranger() (address string, asked func() int) {
	return l.v.issuer + "/lab/stranger", func() int {
		s := &l.p.state.lab
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.asked
	}
}

// labStranger is the address that bad messages name. It gives out a key with the
// kid of the platform's, so that a tool that asks is also deceived.
func (p *platform) labStranger(v *visit) error {
	p.state.lab.mu.Lock()
	p.state.lab.asked++
	p.state.lab.mu.Unlock()
	key, err := p.state.signingKey()
	if err != nil {
		return err
	}
	doc, err := lab.StrangerKeys(key.ID())
	if err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "application/json")
	_, _ = v.w.Write(doc)
	return nil
}

// labTool is a tool as the laboratory needs it. It is launched where its first
// activity is.
func labTool(v *visit, t *Tool, marker string) lab.Tool {
	target := t.RedirectURIs[0]
	switch {
	case len(t.Links) > 0:
		target = t.Links[0].TargetLinkURI
	case t.DeepLinkingURL != "":
		target = t.DeepLinkingURL
	}
	return lab.Tool{
		Name: t.Name, Issuer: v.issuer, ClientID: t.ClientID, Deployment: t.Deployment, AuthURL: v.issuer + "/auth",
		LoginURL: t.LoginURL, RedirectURIs: t.RedirectURIs, Target: target, Marker: marker,
	}
}

// labOrder is what a form asks the laboratory for.
type labOrder struct {
	tool   *Tool
	cases  []*lab.Case
	marker string
}

func (p *platform) labOrder(v *visit) (*labOrder, error) {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, 64<<10)
	if err := v.r.ParseForm(); err != nil {
		return nil, fmt.Errorf("the form cannot be read: %w", err)
	}
	form := v.r.PostForm
	o := &labOrder{marker: form.Get("marker")}
	tools := p.labTools(v)
	name := form.Get("tool")
	if name == "" && len(tools) == 1 {
		name = tools[0].Name
	}
	i := slices.IndexFunc(tools, func(t *Tool) bool { return t.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("tool: %q is not one of %s", truncate(name), toolNames(tools))
	}
	o.tool = tools[i]
	wanted, groups := form["case"], form["group"]
	for _, c := range p.lab.cases {
		if len(wanted)+len(groups) == 0 || slices.Contains(wanted, c.Name) || slices.Contains(groups, c.Group) {
			o.cases = append(o.cases, c)
		}
	}
	for _, name := range wanted {
		if p.labFind(name) == nil {
			return nil, fmt.Errorf("case: there is no case %q", truncate(name))
		}
	}
	for _, name := range groups {
		if !slices.Contains(lab.Groups, name) {
			return nil, fmt.Errorf("group: %q is not one of %s", truncate(name), strings.Join(lab.Groups, ", "))
		}
	}
	return o, nil
}

func (p *platform) labFind(name string) *lab.Case {
	i := slices.IndexFunc(p.lab.cases, func(c *lab.Case) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return p.lab.cases[i]
}

// labTools are the tools that can be tried out.
func (p *platform) labTools(v *visit) []*Tool { return p.known(p.state.book(v.issuer)) }

func toolNames(tools []*Tool) string {
	var names []string
	for _, t := range tools {
		names = append(names, t.Name)
	}
	if names == nil {
		return "the registered tools, of which there are none"
	}
	return strings.Join(names, ", ")
}

var errLabBusy = errors.New("the laboratory is at work already; try again when it is done")

// runLab plays cases. It ends early if the client leaves or the server stops.
func (p *platform) runLab(v *visit, o *labOrder) (*lab.Report, error) {
	if !p.state.lab.running.TryLock() {
		return nil, errLabBusy
	}
	defer p.state.lab.running.Unlock()
	ctx, cancel := context.WithTimeout(v.r.Context(), labTime)
	defer cancel()
	stopped := p.stops.of(v.r)
	go func() {
		select {
		case <-stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	tool := labTool(v, o.tool, o.marker)
	allow := slices.Clone(p.lab.allow)
	// As for key sets: where anybody may have added the tool, localhost in its URLs
	// does not mean this machine.
	if slices.Contains(p.tools, o.tool) || isLocal(v.r.Host) {
		for _, u := range append([]string{tool.LoginURL, tool.Target}, tool.RedirectURIs...) {
			allow = append(allow, localRules(u)...)
		}
	}
	client := httpx.New(httpx.Config{UserAgent: "Mozilla/5.0 (" + userAgent + " laboratory)", AllowPrivate: allow, Timeout: labPatience})
	defer client.CloseIdle()
	r := &lab.Runner{Tool: tool, Platform: labPlatform{p, v}, Client: client, Now: p.now, Timeout: labPatience}
	report := r.Run(ctx, o.cases)
	p.state.lab.keep(v.issuer+" "+o.tool.Name, report)
	return report, nil
}

// labRun is the one call: a form with tool, case, group and marker, all but the
// first of several tools left out at will. It answers JSON to who asks for that.
func (p *platform) labRun(v *visit) error {
	asJSON := strings.Contains(v.r.Header.Get("Accept"), "application/json")
	fail := func(status int, err error) error {
		if asJSON {
			answerProblem(v, status, err.Error())
			return nil
		}
		return p.refuse(v, status, "The laboratory cannot do that", err.Error())
	}
	o, err := p.labOrder(v)
	if err != nil {
		return fail(http.StatusBadRequest, err)
	}
	report, err := p.runLab(v, o)
	if err != nil {
		return fail(http.StatusConflict, err)
	}
	if asJSON {
		answerJSON(v, http.StatusOK, "application/json", report)
		return nil
	}
	to := "/lab/result/" + url.PathEscape(o.tool.Name)
	if len(report.Results) == 1 {
		to += "/" + url.PathEscape(report.Results[0].Case)
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}

// labSwitch changes the platform: new keys, the clock, the storage, the faults of
// the services.
func (p *platform) labSwitch(v *visit) error {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, 64<<10)
	if err := v.r.ParseForm(); err != nil {
		return p.refuse(v, http.StatusBadRequest, "Not understood", "The form could not be read.")
	}
	if err := p.applySwitches(v, v.r.PostForm); err != nil {
		return p.refuse(v, http.StatusBadRequest, "The laboratory cannot do that", err.Error())
	}
	http.Redirect(v.w, v.r, "/lab", http.StatusSeeOther)
	return nil
}

func (p *platform) applySwitches(v *visit, form url.Values) error {
	offset, storage := p.state.clockOffset(), p.state.storageSwitch()
	faults := make(url.Values)
	for name, values := range form {
		var err error
		value := values[0]
		switch name {
		case "keys":
			if value != "rotate" {
				err = errors.New("expected rotate")
			}
		case "clock":
			if offset, err = time.ParseDuration(value); err == nil && offset.Abs() > maxOffset {
				err = errors.New("expected such as -5m or 90s, a day at most")
			}
		case "storage":
			if storage = value; value != "" {
				err = checkStorage(value)
			}
		default:
			if !slices.Contains(targets, name) {
				err = errors.New("there is no such switch")
			}
			faults[name] = values
		}
		if err != nil {
			return fmt.Errorf("%s: %q: %w", truncate(name), truncate(value), err)
		}
	}
	if err := p.switchFaults(p.state.book(v.issuer), faults); err != nil {
		return err
	}
	if form.Has("keys") {
		if _, err := p.state.rotateKey(); err != nil {
			return err
		}
	}
	p.state.mu.Lock()
	defer p.state.mu.Unlock()
	p.state.storage = storage
	p.state.offset.Store(int64(offset))
	return nil
}
