package devlms

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-lti/lti/internal/lab"
)

// labGroups says what the groups of cases are, in the order of the pages.
var labGroups = []struct{ Name, Title, About string }{
	{lab.GroupLaunches, "Good launches", "What platforms send: the 18 launches of the certification, and more. The tool must let each in."},
	{lab.GroupPayloads, "Bad payloads", "The bad payloads of the certification, and more messages that miss what they need. The tool must refuse each."},
	{lab.GroupAttacks, "Attacks", "Messages that somebody has tampered with, replays, and the launch of another browser. The tool must refuse each."},
	{lab.GroupLogins, "Login initiations", "Login initiations that may not lead to a launch."},
	{lab.GroupEndpoints, "Keys", "A new key, and a key set that fails, breaks off, leads away or never comes."},
}

// labVerdict is what the pages call a verdict.
type labVerdict struct{ lab.Result }

// Word is the verdict in words.
func (v labVerdict) Word() string {
	return map[string]string{lab.Right: "Right", lab.Wrong: "Wrong", lab.Undecided: "Undecided"}[v.Verdict]
}

func (p *platform) labPage(v *visit) error {
	type group struct {
		Name, Title, About string
		Cases              []*lab.Case
	}
	type choice struct {
		Value, Label string
		Chosen       bool
	}
	type endpoint struct{ Name, Title, Value string }
	body := struct {
		Tools     []*Tool
		Issuer    string
		Groups    []group
		Total     int
		Offset    time.Duration
		Storage   []choice
		Endpoints []endpoint
		Faults    []string
	}{
		Tools: p.labTools(v), Issuer: v.issuer, Total: len(p.lab.cases), Offset: p.state.clockOffset(),
		Faults: []string{faultOff, fault500, fault503, fault429, "slow 5s", faultHang, faultDown, faultHalf, faultTruncated},
	}
	for _, g := range labGroups {
		cases := slices.DeleteFunc(slices.Clone(p.lab.cases), func(c *lab.Case) bool { return c.Group != g.Name })
		body.Groups = append(body.Groups, group{g.Name, g.Title, g.About, cases})
	}
	switched := p.state.storageSwitch()
	for _, c := range [][2]string{{"", "as configured"}, {storageOff, "off"}, {storageFrame, "in a frame beside the tool"}, {storageParent, "in the page of the activity"}} {
		body.Storage = append(body.Storage, choice{c[0], c[1], c[0] == switched})
	}
	b := p.state.book(v.issuer)
	for _, e := range [][2]string{{targetKeys, "Key set"}, {targetToken, "Tokens"}, {targetAGS, "Grades"}, {targetMembers, "Rosters"}} {
		value := p.fault(b, e[0]).text
		if value == "" {
			value = faultOff
		}
		if !slices.Contains(body.Faults, value) {
			body.Faults = append(body.Faults, value)
		}
		body.Endpoints = append(body.Endpoints, endpoint{e[0], e[1], value})
	}
	return p.render(v, "lab", pagePolicy, http.StatusOK, page{Title: "Laboratory", Body: body})
}

// labReport finds the last run of the tool that the path names.
func (p *platform) labReport(v *visit) (*Tool, *lab.Report) {
	tools := p.labTools(v)
	i := slices.IndexFunc(tools, func(t *Tool) bool { return t.Name == v.args[0] })
	if i < 0 {
		return nil, nil
	}
	return tools[i], p.state.lab.report(v.issuer + " " + tools[i].Name)
}

func (p *platform) labResult(v *visit) error {
	t, report := p.labReport(v)
	if report == nil {
		return p.notFound(v)
	}
	var rows []labVerdict
	for _, res := range report.Results {
		rows = append(rows, labVerdict{res})
	}
	slices.SortStableFunc(rows, func(a, b labVerdict) int { return rank(a.Verdict) - rank(b.Verdict) })
	title := strconv.Itoa(report.Right) + " of " + strconv.Itoa(len(rows)) + " right"
	return p.render(v, "labresult", pagePolicy, http.StatusOK, page{Title: title, Body: struct {
		Tool   *Tool
		Report *lab.Report
		Begun  string
		Rows   []labVerdict
		Steps  []lab.Step
	}{t, report, report.Begun.UTC().Format("2 Jan 2006, 15:04:05 UTC"), rows, report.Steps}})
}

// rank puts first what somebody has to look at.
func rank(verdict string) int {
	return slices.Index([]string{lab.Wrong, lab.Undecided, lab.Right}, verdict)
}

func (p *platform) labCase(v *visit) error {
	t, report := p.labReport(v)
	if report == nil {
		return p.notFound(v)
	}
	i := slices.IndexFunc(report.Results, func(r lab.Result) bool { return r.Case == v.args[1] })
	if i < 0 {
		return p.notFound(v)
	}
	res := report.Results[i]
	steps, compared := res.Steps, false
	if len(steps) == 0 {
		steps, compared = report.Steps, true
	}
	return p.render(v, "labcase", pagePolicy, http.StatusOK, page{Title: res.Description, Body: struct {
		Tool     *Tool
		Result   labVerdict
		Steps    []lab.Step
		Compared bool // the steps are those of the good launch instead
		Problem  string
	}{t, labVerdict{res}, steps, compared, report.Problem}})
}
