package caddylti

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jwkset"
	"github.com/caddy-lti/lti/internal/service"
	"github.com/caddy-lti/lti/lti"
)

// Platform is a registration of this tool with a learning platform. All values
// but the name may hold global placeholders such as {env.CLIENT_ID}.
type Platform struct {
	// Name is what this configuration calls the platform: 1 to 32 of a-z, 0-9
	// and the hyphen. It is part of Remote-User, so changing it changes who
	// people are to the app. Required.
	Name string `json:"name"`

	// Issuer is the platform's issuer, compared byte for byte. Required, unless
	// the preset has one.
	Issuer string `json:"issuer,omitempty"`

	// Preset fills what is left out for a known product: moodle, canvas,
	// canvas-beta, canvas-test, canvas-own, blackboard, brightspace, sakai,
	// schoology, openedx. Default: none.
	Preset string `json:"preset,omitempty"`

	// ClientID is what the platform calls this tool. Required.
	ClientID string `json:"client_id,omitempty"`

	// Deployments lists the deployment ids that may launch; the single word any
	// accepts all. Required.
	Deployments []string `json:"deployments,omitempty"`

	// AuthURL is the platform's OIDC authorization endpoint. Required, unless
	// the preset has one.
	AuthURL string `json:"auth_url,omitempty"`

	// TokenURL is the platform's token endpoint, for its services. Default: by
	// preset, else none.
	TokenURL string `json:"token_url,omitempty"`

	// TokenAudience is what the platform wants to be called where the tool asks
	// it for a token. Default: by preset, if TokenURL is the preset's too; else
	// TokenURL, byte for byte.
	TokenAudience string `json:"token_audience,omitempty"`

	// JWKSURL is the platform's public key set. Required, unless the preset has
	// one.
	JWKSURL string `json:"jwks_url,omitempty"`

	// UserScope is what a user id is unique in, beyond issuer and client id:
	// client (nothing more), tenant (tool_platform.guid) or deployment. Default:
	// by preset, else client.
	UserScope string `json:"user_scope,omitempty"`

	// Origins lists further addresses of the platform at which its pages show
	// the tool in a frame, scheme and host. Default: none; the issuer's (unless
	// many customers share that) and those that a launch names are known.
	Origins []string `json:"origins,omitempty"`

	// Algorithms that may sign launches. Default: RS256, RS384, RS512, PS256,
	// PS384, PS512, ES256, ES384, ES512 and EdDSA, each only with a key of its
	// kind.
	Algorithms []string `json:"algorithms,omitempty"`

	// Leeway is how far the platform's clock may differ. Default: 60s; at most 5m.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	registration lti.Platform // what the above comes to
	service      *service.Platform
	origins      []string // that may show the tool in a frame, besides those in the launch
	keysURL      string
	keys         *jwkset.Keys
	acquired     bool   // a reference in keySets is ours
	id           string // of the registration, if the platform registered itself
}

var platformName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

func checkPlatformName(name string) error {
	if !platformName.MatchString(name) {
		return fmt.Errorf("platform name %q: expected 1 to 32 of a-z, 0-9 and -", name)
	}
	return nil
}

func (p *Platform) provision(app *App, logger *zap.Logger) error {
	if err := checkPlatformName(p.Name); err != nil {
		return err
	}
	if err := p.resolve(); err != nil {
		return fmt.Errorf("platform %s: %w", p.Name, err)
	}
	return p.acquire(app, logger)
}

// acquire gets the platform's keys, which cleanup gives back.
func (p *Platform) acquire(app *App, logger *zap.Logger) error {
	set, err := app.keySet(p.keysURL)
	if err != nil {
		return err
	}
	p.acquired = true
	p.keys = set.For(app.client, func(msg string, err error) {
		logger.Warn(msg, zap.String("platform", p.Name), zap.Error(err))
	})
	return nil
}

// resolve expands placeholders, applies the preset and checks the outcome.
func (p *Platform) resolve() error {
	repl := caddy.NewReplacer()
	var errs []error
	expand := func(option, val string) string {
		out, err := repl.ReplaceOrErr(val, true, true)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", option, err))
		}
		return out
	}
	clientID := expand("client_id", p.ClientID)
	e := endpoints{
		issuer:  expand("issuer", p.Issuer),
		authURL: expand("auth_url", p.AuthURL), tokenURL: expand("token_url", p.TokenURL), jwksURL: expand("jwks_url", p.JWKSURL),
		audience: expand("token_audience", p.TokenAudience), userScope: p.UserScope,
	}
	deployments := make([]string, 0, len(p.Deployments))
	for _, d := range p.Deployments {
		deployments = append(deployments, expand("deployment", d))
	}
	origins := make([]string, 0, len(p.Origins)+1)
	for _, o := range p.Origins {
		origins = append(origins, expand("origin", o))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return p.settle(e, clientID, deployments, origins)
}

// settle applies the preset to what is known of a platform, and checks the
// outcome.
func (p *Platform) settle(e endpoints, clientID string, deployments, origins []string) error {
	for i, o := range origins {
		u, err := httpx.CheckURL(o)
		if err == nil && ((u.Path != "" && u.Path != "/") || u.RawQuery != "") {
			err = errors.New("expected scheme and host only")
		}
		if err == nil && frameOrigin(o) == "" {
			err = errors.New("expected a host name in ASCII")
		}
		if err != nil {
			return fmt.Errorf("origin %q: %w", o, err)
		}
		origins[i] = originOf(u)
	}
	shared := lti.UserScope(e.userScope) != lti.ScopeClient && e.userScope != ""
	if p.Preset != "" {
		known, ok := presets[p.Preset]
		if !ok {
			return fmt.Errorf("unknown preset %q: expected one of %s", p.Preset, presetNames())
		}
		known.fill(&e, clientID)
		shared = known.issuer != ""
	}
	for _, u := range []struct{ option, val string }{
		{"issuer", e.issuer}, {"auth_url", e.authURL}, {"jwks_url", e.jwksURL}, {"token_url", e.tokenURL},
	} {
		switch {
		case u.val != "":
		case u.option == "token_url":
			continue
		default:
			return fmt.Errorf("no %s: write one, or a preset that has it (%s)", u.option, presetNames())
		}
		parsed, err := httpx.CheckURL(u.val)
		if err != nil {
			return fmt.Errorf("%s: %w", u.option, err)
		}
		if u.option == "issuer" && parsed.RawQuery != "" {
			return fmt.Errorf("issuer %q has a query", u.val)
		}
	}
	if clientID == "" {
		return errors.New("no client_id")
	}
	switch {
	case len(deployments) == 0:
		return errors.New(`no deployment: list the ids that may launch, or write "deployment any"`)
	case slices.Contains(deployments, ""):
		return errors.New("an empty deployment")
	case slices.Contains(deployments, "any") && len(deployments) > 1:
		return errors.New(`"deployment any" stands alone`)
	}
	switch lti.UserScope(e.userScope) {
	case "":
		e.userScope = string(lti.ScopeClient)
	case lti.ScopeClient, lti.ScopeTenant, lti.ScopeDeployment:
	default:
		return fmt.Errorf("user_scope %q: expected client, tenant or deployment", e.userScope)
	}
	algorithms := p.Algorithms
	if len(algorithms) == 0 {
		algorithms = lti.Algorithms()
	}
	for _, alg := range algorithms {
		if !slices.Contains(lti.Algorithms(), alg) {
			return fmt.Errorf("algorithm %q: expected some of %v", alg, lti.Algorithms())
		}
	}
	leeway := time.Duration(p.Leeway)
	if leeway == 0 {
		leeway = lti.DefaultLeeway
	}
	if leeway < 0 || leeway > lti.MaxLeeway {
		return fmt.Errorf("leeway %s: expected more than 0 and at most %s", leeway, lti.MaxLeeway)
	}
	p.keysURL = e.jwksURL
	p.service = &service.Platform{
		Name: p.Name, Issuer: e.issuer, ClientID: clientID, TokenURL: e.tokenURL,
		Audience: e.audience,
	}
	// An issuer that many schools share is not where their pages are.
	if p.origins = origins; !shared {
		p.origins = append(p.origins, frameOrigin(e.issuer))
	}
	p.registration = lti.Platform{
		Name: p.Name, Issuer: e.issuer, ClientID: clientID, AuthURL: e.authURL,
		Deployments: deployments, AnyDeployment: deployments[0] == "any",
		Algorithms: algorithms, Leeway: leeway, UserScope: lti.UserScope(e.userScope),
	}
	return nil
}

// cleanup gives the key set back. Requests of this configuration that are still
// under way go on with the keys that it has.
func (p *Platform) cleanup() {
	if p.acquired {
		p.acquired = false
		_, _ = keySets.Delete(p.keysURL)
	}
}
