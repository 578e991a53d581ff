package deeplink

import (
	"crypto/rand"
	"errors"
	"net/url"
	"time"

	"github.com/caddy-lti/lti/lti"
)

// Lifetime is how long a request can be answered: a teacher may take that long to
// choose.
const Lifetime = time.Hour

// ErrExpired is the error for an answer that comes after its request's time.
var ErrExpired = errors.New("the deep-linking request is too old to be answered: open it from the course again")

// Request is a deep-linking request that has been verified, for as long as it is
// not answered. Its JSON is for the caller's own store: ReturnURL and Data may
// hold secrets of the platform.
type Request struct {
	Issuer       string    `json:"iss"`
	ClientID     string    `json:"client_id"`
	DeploymentID string    `json:"deployment_id"`
	Expires      time.Time `json:"expires"`
	lti.DeepLinking
}

// NewRequest makes a request of a launch that is an LtiDeepLinkingRequest.
func NewRequest(l *lti.Launch, now time.Time) *Request {
	return &Request{
		Issuer: l.Issuer, ClientID: l.ClientID, DeploymentID: l.DeploymentID,
		Expires:     now.Add(Lifetime).UTC().Truncate(time.Second),
		DeepLinking: l.DeepLinking,
	}
}

// Signer signs with the tool's key, RS256, and names it in the header: platforms
// refuse what has no kid.
type Signer interface {
	Sign(claims any) (jwt string, err error)
}

// Site is the tool that answers.
type Site struct {
	// Home is the URL of an activity that has none of its own.
	Home string
	// Owns tells whether a launch can open a URL, which is absolute. Activities
	// have no others.
	Owns func(u *url.URL) bool
}

// Answer is what the person's browser posts: JWT, as the field JWT of a form, to
// ReturnURL.
type Answer struct {
	ReturnURL string
	JWT       string
	// Dropped are members that the platform said it ignores, and that were not
	// sent: content_items[0].lineItem. The app may expect them to have an effect.
	Dropped []string
}

// Claims of the answer (Deep Linking 2.0 §4.5).
const (
	claimMessageType  = "https://purl.imsglobal.org/spec/lti/claim/message_type"
	claimVersion      = "https://purl.imsglobal.org/spec/lti/claim/version"
	claimDeploymentID = "https://purl.imsglobal.org/spec/lti/claim/deployment_id"
	claimData         = "https://purl.imsglobal.org/spec/lti-dl/claim/data"
	claimItems        = "https://purl.imsglobal.org/spec/lti-dl/claim/content_items"
	claimMsg          = "https://purl.imsglobal.org/spec/lti-dl/claim/msg"
	claimLog          = "https://purl.imsglobal.org/spec/lti-dl/claim/log"
	claimErrorMsg     = "https://purl.imsglobal.org/spec/lti-dl/claim/errormsg"
	claimErrorLog     = "https://purl.imsglobal.org/spec/lti-dl/claim/errorlog"
)

const messageType = "LtiDeepLinkingResponse"

const (
	// Some clocks are behind ours, and Moodle refuses an iat ahead of its own.
	answerBack = 10 * time.Second
	answerLife = 5 * time.Minute
)

// Answer checks a response against what the platform takes, and signs it. If the
// response is at fault, the error is a [FieldErrors], and the request can still be
// answered.
func (r *Request) Answer(now time.Time, signer Signer, site Site, res *Response) (*Answer, error) {
	if !now.Before(r.Expires) {
		return nil, ErrExpired
	}
	c := check{req: r, site: site}
	fit := c.response(res)
	if err := c.errs.orNil(); err != nil {
		return nil, err
	}
	jwt, err := signer.Sign(r.claims(now, fit))
	if err != nil {
		return nil, err
	}
	return &Answer{ReturnURL: r.ReturnURL, JWT: jwt, Dropped: c.dropped}, nil
}

func (r *Request) claims(now time.Time, res *Response) map[string]any {
	claims := map[string]any{
		"iss": r.ClientID, "aud": r.Issuer, "nonce": rand.Text(),
		"iat": now.Add(-answerBack).Unix(), "exp": now.Add(answerLife).Unix(),
		claimMessageType: messageType, claimVersion: lti.Version, claimDeploymentID: r.DeploymentID,
		claimItems: res.Items,
	}
	if r.Data != nil {
		claims[claimData] = r.Data
	}
	for name, text := range map[string]string{
		claimMsg: res.Msg, claimLog: res.Log, claimErrorMsg: res.ErrorMsg, claimErrorLog: res.ErrorLog,
	} {
		if text != "" {
			claims[name] = text
		}
	}
	return claims
}
