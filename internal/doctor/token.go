package doctor

import (
	"cmp"
	"context"
	"errors"
	"mime"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/service"
	"github.com/caddy-lti/lti/nrps"
)

var (
	tokenNoURL = define(rule{
		CheckToken, "no_url", Failure, fault.ToolAdmin,
		"write the token_url that the platform shows: without it there are no scores and no rosters", "",
	})
	tokenUnsigned = define(rule{
		CheckToken, "unsigned", Failure, fault.ToolAdmin,
		"see why the tool's keys cannot be used", "",
	})
	tokenMissing = define(rule{
		CheckToken, "missing", Failure, fault.ToolAdmin,
		"compare token_url with the address that the platform shows", "",
	})
	tokenMoved = define(rule{
		CheckToken, "moved", Failure, fault.ToolAdmin,
		"set token_url to the new address", "",
	})
	tokenKeys = define(rule{CheckToken, "tool_keys", Failure, fault.PlatformAdmin, "", ""})
	tokenWho  = define(rule{
		CheckToken, "refused", Failure, fault.ToolAdmin, "", "",
	})
	tokenMalformed = define(rule{
		CheckToken, "malformed", Failure, fault.PlatformAdmin,
		"see what answers at the token URL: it has to be the JSON of a token", "",
	})
	tokenSlow = define(rule{
		CheckToken, "rate_limited", Note, fault.Nobody,
		"look again in a while", "",
	})
	tokenBroken = define(rule{
		CheckToken, "broken", Failure, fault.PlatformAdmin,
		"see why the platform gives out no tokens; scores wait until it does", "",
	})
	tokenType  = define(rule{CheckToken, "content_type", Note, fault.Nobody, "", ""})
	tokenShort = define(rule{
		CheckToken, "short_lived", Note, fault.PlatformAdmin,
		"let tokens be good for an hour, as is usual", "",
	})

	audienceWrong   = define(rule{CheckAudience, "wrong", Failure, fault.ToolAdmin, "", ""})
	audienceRefused = define(rule{
		CheckAudience, "refused", Failure, fault.ToolAdmin,
		"set token_audience to what the platform's documentation names", "",
	})

	scopesMissing = define(rule{
		CheckScopes, "not_granted", Failure, fault.PlatformAdmin,
		"allow it in the tool's settings in the platform", "",
	})
)

// needs says what does not work without a scope.
var needs = map[string]string{
	ags.ScopeScore:            "scores",
	ags.ScopeLineItem:         "making columns in the gradebook",
	ags.ScopeLineItemReadOnly: "finding columns of the gradebook",
	ags.ScopeResultReadOnly:   "reading results",
	nrps.ScopeMembership:      "rosters",
}

const shortLife = 30 * time.Second

// The platform's words for what it does not like.
var (
	keyTrouble      = regexp.MustCompile(`(?i)\bkid\b|\bkeys?\b|\bkeyid\b|\bjwks?\b|\bjwks_ur[il]\b|signature`)
	audienceTrouble = regexp.MustCompile(`(?i)\baud\b|audience`)
)

// token asks for a token with the scopes that the site uses.
func (x *examination) token(ctx context.Context, r *report) {
	switch {
	case len(x.reg.Scopes) == 0:
		r.ok(CheckToken, "the site uses no service, so no token was asked for")
		return
	case x.reg.TokenURL == "":
		r.broken(tokenNoURL, "the platform has no token_url, and the site uses %s", services(x.reg.Scopes))
		return
	case !r.sane("token_url", x.reg.TokenURL):
		return
	}
	w := x.wire()
	life, err := x.ask(ctx, w, x.reg.Audience, x.reg.Scopes)
	missing, err := x.missing(ctx, w, err)
	if err != nil {
		x.refused(ctx, r, w, err)
		return
	}
	r.ok(CheckToken, "the platform recognises the tool")
	r.ok(CheckAudience, "%s is accepted", cmp.Or(x.reg.Audience, x.reg.TokenURL))
	for _, scope := range missing {
		r.broken(scopesMissing, "the platform does not grant the tool %s: %s will not work", scope, services([]string{scope}))
	}
	if len(missing) == 0 {
		r.ok(CheckScopes, "granted: %s", services(x.reg.Scopes))
	}
	if life > 0 && life < shortLife {
		r.broken(tokenShort, "a token can be used for %s only, so that nearly each request needs a new one", life)
	}
	typ, _, _ := mime.ParseMediaType(w.last.Header.Get("Content-Type"))
	if life > 0 && typ != "application/json" {
		r.broken(tokenType, "the token comes as %q instead of application/json; it is understood", typ)
	}
}

// services names what scopes are for.
func services(scopes []string) string {
	var words []string
	for _, s := range scopes {
		words = append(words, cmp.Or(needs[s], "what needs "+s))
	}
	return list(words)
}

// ask asks for a token as the services do, but none of those that are at hand
// counts.
func (x *examination) ask(ctx context.Context, w *wire, audience string, scopes []string) (time.Duration, error) {
	client := service.New(service.Config{HTTP: w, Sign: x.tool.Sign, Now: x.tool.Now})
	defer client.Close()
	p := x.reg.Platform
	p.Audience = audience
	return client.Authorise(ctx, service.Access{Platform: &p, Deployment: x.reg.Deployment}, scopes)
}

// missing returns which scopes are not granted, if that is what err says. Some
// platforms refuse all for one: then each is asked for by itself.
func (x *examination) missing(ctx context.Context, w *wire, err error) ([]string, error) {
	e, ok := errors.AsType[*service.Error](err)
	if !ok || e.Kind != service.ScopeNotGranted {
		return nil, err
	}
	if len(e.Scopes) < len(x.reg.Scopes) || len(x.reg.Scopes) == 1 {
		return e.Scopes, nil
	}
	var missing []string
	for _, scope := range x.reg.Scopes {
		_, err := x.ask(ctx, w, x.reg.Audience, []string{scope})
		e, ok := errors.AsType[*service.Error](err)
		switch {
		case ok && e.Kind == service.ScopeNotGranted:
			missing = append(missing, scope)
		case err != nil:
			return nil, err
		}
	}
	return missing, nil
}

// refused judges why there is no token.
func (x *examination) refused(ctx context.Context, r *report, w *wire, err error) {
	e, ok := errors.AsType[*service.Error](err)
	if !ok {
		r.reach(x.reg.TokenURL, err)
		return
	}
	said := *e
	said.Platform = "" // it is the subject
	switch {
	case e.Whose == service.ToolAdmin && w.last == nil && !errors.Is(err, httpx.ErrPrivateAddress):
		r.broken(tokenUnsigned, "%v", &said)
	case e.Kind == service.MalformedAnswer:
		r.broken(tokenMalformed, "%v", &said)
	case w.last == nil:
		r.reach(x.reg.TokenURL, e.Err)
	case e.Kind == service.NotFound:
		r.broken(tokenMissing, "%v", &said)
	case e.Kind == service.Redirected:
		r.broken(tokenMoved, "%v", &said)
	case e.Kind == service.RateLimited:
		r.broken(tokenSlow, "%v", &said)
	case e.Kind != service.TokenRefused:
		r.broken(tokenBroken, "%v", &said)
	case e.Clock():
		r.broken(clockRefused, "%v", &said)
	default:
		x.unrecognised(ctx, r, &said)
	}
}

// unrecognised finds out what the platform does not recognise: by its words, or by
// asking once more for other audiences.
func (x *examination) unrecognised(ctx context.Context, r *report, said *service.Error) {
	if keyTrouble.MatchString(said.Words) && !audienceTrouble.MatchString(said.Words) {
		r.brokenMend(tokenKeys, "have the platform take the tool's keys from "+x.ownKeys()+", which its server must be able to reach", "%v", said)
		return
	}
	if said.Retry { // the client itself is not what it complains of
		for _, other := range x.audiences() {
			if _, err := x.ask(ctx, x.wire(), other, x.reg.Scopes); err == nil {
				r.brokenMend(audienceWrong, "write token_audience "+other+" in the platform's block",
					"the platform does not accept the audience %s, but %s", cmp.Or(x.reg.Audience, x.reg.TokenURL), other)
				return
			}
		}
	}
	if audienceTrouble.MatchString(said.Words) {
		r.broken(audienceRefused, "%v", said)
		return
	}
	r.brokenMend(tokenWho, "compare client_id and token_url with the platform; the platform must know "+x.ownKeys()+
		" as the address of the tool's keys, and its server must be able to reach it", "%v", said)
}

func (x *examination) ownKeys() string { return cmp.Or(x.reg.OwnKeysURL, "the site's /lti/jwks.json") }

// audiences are those that platforms want, but for the one in use.
func (x *examination) audiences() []string {
	used := cmp.Or(x.reg.Audience, x.reg.TokenURL)
	origin, _ := httpx.Origin(x.reg.TokenURL)
	all := []string{x.reg.TokenURL, x.reg.Issuer, origin, strings.TrimSuffix(x.reg.Issuer, "/")}
	for i := range all {
		if all[i] == used || slices.Contains(all[:i], all[i]) {
			all[i] = ""
		}
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}
