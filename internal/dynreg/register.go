package dynreg

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/loosejson"
	"github.com/caddy-lti/lti/internal/service"
	"github.com/caddy-lti/lti/internal/strictjson"
	"github.com/caddy-lti/lti/lti"
)

// Result is what a platform made of a registration.
type Result struct {
	ClientID string
	// Deployments are those that the answer names: one at most, as a rule, and
	// none where deployments are made later, as in Brightspace and Blackboard.
	Deployments []string
	// Scopes are those that the platform grants. Its administrator can still take
	// some away.
	Scopes []string
	// Changes say what the platform keeps otherwise than it was asked to. What it
	// does not repeat is no change.
	Changes []Note

	// ManagementURI and ManagementToken, a secret, read and change the
	// registration (RFC 7592); both or none.
	ManagementURI   string
	ManagementToken string
}

// Register sends a request to a platform's registration endpoint, with the token
// if there is one, and reads its answer. The error is an [*Error]. If it is not that
// the platform refused, the platform may have the tool nonetheless.
func Register(ctx context.Context, client Client, cfg *Configuration, token string, req *Request) (*Result, error) {
	header, err := headers(opRegister, token)
	if err != nil {
		return nil, err
	}
	header.Set("Content-Type", "application/json")
	body, err := json.Marshal(req)
	if err != nil {
		return nil, &Error{Op: opRegister, Hint: err.Error(), Whose: ToolAdmin, Err: err}
	}
	resp, err := client.Do(ctx, &httpx.Request{
		Method: http.MethodPost, URL: cfg.RegistrationEndpoint, Header: header, Body: body, MaxBytes: maxBytes,
	})
	if err != nil {
		return nil, unreachable(opRegister, err)
	}
	secrets := secretsOf(token, cfg.RegistrationEndpoint)
	if resp.Status < 200 || resp.Status > 299 {
		return nil, refused(opRegister, resp, secrets)
	}
	res, err := ParseResult(resp.Body, req)
	if e, ok := errors.AsType[*Error](err); ok {
		e.Status, e.Words = resp.Status, words(resp.Body, secrets)
	}
	return res, err
}

// ParseResult reads a platform's answer to a request. The error is an [*Error].
func ParseResult(data []byte, req *Request) (*Result, error) {
	obj, err := strictjson.Object(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	if err != nil {
		return nil, malformed(opRegister, "the platform's answer cannot be read: "+err.Error()+lookFirst, err)
	}
	m := loosejson.Members(obj)
	res := &Result{ClientID: m.Text("client_id")}
	if !validID(res.ClientID) {
		text := "is missing"
		if obj["client_id"] != nil || res.ClientID != "" {
			text = "is no name that a client can have"
		}
		return nil, malformed(opRegister, "the platform's answer does not say by which name it knows the tool"+lookFirst, nil, Note{"client_id", text})
	}
	var tool loosejson.Members
	_ = json.Unmarshal(m[memberTool], &tool) // without one nothing is lost but the deployment

	// Moodle names it within, Canvas beside.
	for _, id := range []string{tool.Text("deployment_id"), m.Text("deployment_id")} {
		if validID(id) && !slices.Contains(res.Deployments, id) {
			res.Deployments = append(res.Deployments, id)
		}
	}
	uri, secret := m.Text("registration_client_uri"), m.Text("registration_access_token")
	if _, problem := checkURL(uri); problem == "" && secret != "" {
		res.ManagementURI, res.ManagementToken = uri, secret
	}
	res.compare(m, tool, req)
	return res, nil
}

// validID tells whether s can be a client or deployment id: it ends up in headers,
// log lines and storage keys.
func validID(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
}

// compare finds out what the platform keeps otherwise.
func (res *Result) compare(m, tool loosejson.Members, req *Request) {
	var changes notes
	uri := func(from loosejson.Members, member, asked string) {
		if got := from.Text(member); got != "" && got != asked {
			changes.add(member, "the platform keeps "+service.Sanitize(got, maxText)+" instead of "+asked)
		}
	}
	lacks := func(member string, asked, got []string) {
		for _, a := range asked {
			if got != nil && !slices.Contains(got, a) {
				changes.add(member, "the platform leaves out "+a)
			}
		}
	}
	uri(m, "initiate_login_uri", req.InitiateLoginURI)
	uri(m, "jwks_uri", req.JWKSURI)
	lacks("redirect_uris", req.RedirectURIs, list(m["redirect_uris"]))
	uri(tool, "target_link_uri", req.Tool.TargetLinkURI)
	lacks("claims", req.Tool.Claims, list(tool["claims"]))

	res.Scopes = strings.Fields(req.Scope)
	if granted := list(m["scope"]); granted != nil {
		// One string by the specification, and a list is understood.
		granted = strings.Fields(strings.Join(granted, " "))
		lacks("scope", res.Scopes, granted)
		res.Scopes = granted
	}
	// Moodle repeats no message but deep linking's.
	deepLinking := func(typ string) bool { return typ == lti.MessageDeepLinking }
	kept := messages(loosejson.Members{"messages_supported": tool["messages"]})
	if slices.ContainsFunc(req.Tool.Messages, func(r MessageRequest) bool { return deepLinking(r.Type) }) &&
		kept != nil && !slices.ContainsFunc(kept, func(s Supported) bool { return deepLinking(s.Type) }) {
		changes.add("messages", "the platform leaves out "+lti.MessageDeepLinking)
	}
	res.Changes = changes
}
