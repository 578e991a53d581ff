package devlms

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/strictjson"
)

const (
	// maxAnswer limits a deep linking response.
	maxAnswer = 256 << 10

	answeredBefore = "this deep linking request was answered before"
)

// answer is what a tool says to a deep linking request.
type answer struct {
	items []*contentItem
	// For the person and for the log, good news and bad.
	msg, errorMsg, log, errorLog string
	ignored                      bool // line items that were not wanted
	nonce                        string
}

// deepLinkReturn takes the answer of a tool, from the browser (Deep Linking 2.0
// §4.5). The browser need not send the cookie of the LMS with it: which request is
// meant is in the URL, who answers in the signature.
func (p *platform) deepLinkReturn(v *visit) error {
	c := findCourse(v.args[0])
	if c == nil {
		return p.notFound(v)
	}
	b := p.state.book(v.issuer)
	d, t, problem := p.asked(v, b, c)
	var ans *answer
	if problem == "" {
		ans, problem = p.readAnswer(v, t, d)
	}
	if problem == "" {
		problem = p.state.accept(d, t.ClientID, ans.nonce)
	}
	if problem == "" && len(ans.items) > 0 && !b.addItems(d, ans.items) {
		problem = fmt.Sprintf("there are %d pieces of content already", maxContents)
	}
	body := struct {
		Course            *course
		Problem           string
		Message, ErrorMsg string
		Items             []*contentItem
		Ignored           bool
		Leave             string // version of the script that goes back at once
	}{Course: c, Problem: problem}
	if problem != "" {
		v.note.problem = problem
		p.log.Debug("answer to a deep linking request refused", zap.String("reason", problem))
		return p.render(v, "added", pagePolicy, http.StatusBadRequest, page{Title: "The tool's answer is refused", Bare: true, Body: body})
	}
	if ans.log != "" || ans.errorLog != "" {
		p.log.Debug("a tool answered a deep linking request",
			zap.String("log", truncate(ans.log)),
			zap.String("errorlog", truncate(ans.errorLog)))
	}
	body.Message, body.ErrorMsg, body.Items, body.Ignored = truncate(ans.msg), truncate(ans.errorMsg), ans.items, ans.ignored
	policy := pagePolicy
	// Who has something to read stays.
	if ans.msg == "" && ans.errorMsg == "" && !ans.ignored {
		body.Leave, policy = deepLinkVersion, pagePolicy+"; script-src 'self'"
	}
	return p.render(v, "added", policy, http.StatusOK, page{Title: "Back from the tool", Bare: true, Body: body})
}

// asked finds the request that is answered, and the tool that it went to.
func (p *platform) asked(v *visit, b *book, c *course) (*deepLink, *Tool, string) {
	d, answered := p.state.request(v.r.URL.Query().Get("launch"))
	v.note.request = d.name()
	switch {
	case d == nil || d.issuer != v.issuer || d.course != c.ID:
		return nil, nil, "the URL is not the deep_link_return_url of a request"
	case answered:
		return nil, nil, answeredBefore
	case p.now().After(d.expires):
		return nil, nil, "the deep linking request is more than an hour old"
	case v.person != nil && v.person.ID != d.person:
		return nil, nil, "somebody else has signed in since the deep linking request"
	}
	t := p.toolByName(b, d.tool)
	if t == nil || !t.deepLinkOn() {
		return nil, nil, "the tool is no longer there"
	}
	return d, t, ""
}

// readAnswer checks an answer by the rules of Deep Linking 2.0 §4.5 and Security
// Framework §5.2, and says which one it breaks.
func (p *platform) readAnswer(v *visit, t *Tool, d *deepLink) (*answer, string) {
	if kind, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type")); err != nil || kind != formType {
		return nil, "the content type must be " + formType
	}
	v.limit(maxAnswer)
	if err := v.r.ParseForm(); err != nil {
		return nil, fmt.Sprintf("the form cannot be read, or is larger than %d bytes", maxAnswer)
	}
	jwt := only(v.r.PostForm, "JWT")
	if jwt == "" {
		return nil, "the form must have one field JWT"
	}
	payload, err := p.verify(v, t, jwt)
	if err != nil {
		return nil, "JWT: " + truncate(err.Error())
	}
	claims, err := strictjson.Object(payload)
	if err != nil {
		return nil, "the claims are not one JSON object"
	}
	ans := new(answer)
	if problem := p.checkAnswer(t, d, claims, ans); problem != "" {
		return nil, problem
	}
	for name, text := range map[string]*string{"msg": &ans.msg, "errormsg": &ans.errorMsg, "log": &ans.log, "errorlog": &ans.errorLog} {
		if raw, ok := claims[claimDeepLink+name]; ok {
			s, ok := jsonText(raw)
			if !ok {
				return nil, name + " is not a string"
			}
			*text = s
		}
	}
	raw, ok := claims[claimDeepLink+"content_items"]
	if !ok {
		return ans, ""
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || list == nil {
		return nil, "content_items is not an array"
	}
	if len(list) > 1 && d.settings.Multiple != optionOn {
		return nil, "content_items has more than one item, but accept_multiple is not true"
	}
	for n, raw := range list {
		item, problem := d.settings.parseItem(raw, t)
		if problem != "" {
			return nil, fmt.Sprintf("content_items[%d]%s", n, problem)
		}
		if item.line != nil && d.settings.LineItem == optionOff {
			item.line, ans.ignored = nil, true
		}
		ans.items = append(ans.items, item)
	}
	return ans, ""
}

// checkAnswer says what is wrong with the claims that every answer has.
func (p *platform) checkAnswer(t *Tool, d *deepLink, claims map[string]json.RawMessage, ans *answer) string {
	text := func(name string) string {
		s, _ := jsonText(claims[name])
		return s
	}
	now := p.now()
	exp, expOK := numericDate(claims["exp"])
	iat, iatOK := numericDate(claims["iat"])
	ans.nonce = text("nonce")
	switch {
	case text("iss") != t.ClientID:
		return "iss must be the client id"
	case !isAudience(claims["aud"], d.issuer):
		return "aud must be " + d.issuer
	case !expOK:
		return "exp is missing or not a number"
	case !iatOK:
		return "iat is missing or not a number"
	case !now.Before(exp):
		return "exp has passed"
	case exp.After(now.Add(accessLifetime)):
		return "exp is more than an hour ahead"
	case iat.After(now.Add(p.leeway)):
		return "iat is ahead of the clock"
	case iat.After(exp):
		return "iat is after exp"
	case ans.nonce == "":
		return "nonce is missing or not a string"
	case text(claimPrefix+"message_type") != messageDeepLinkResponse:
		return "message_type must be " + messageDeepLinkResponse
	case text(claimPrefix+"version") != "1.3.0":
		return "version must be 1.3.0"
	case text(claimPrefix+"deployment_id") != t.Deployment:
		return "deployment_id must be that of the request"
	case d.data != "" && text(claimDeepLink+"data") != d.data:
		return "data must be that of the request, unchanged"
	}
	return ""
}

// jsonText reads a string; null is none.
func jsonText(raw json.RawMessage) (string, bool) {
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}
