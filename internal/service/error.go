package service

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddy-lti/lti/internal/httpx"
)

// Kind says what went wrong.
type Kind string

// The kinds.
const (
	Unreachable     Kind = "unreachable"
	TimedOut        Kind = "timeout"
	RateLimited     Kind = "rate limited"
	ServerError     Kind = "server error"
	TokenRefused    Kind = "token refused"
	ScopeNotGranted Kind = "scope not granted"
	NotFound        Kind = "not found"
	Conflict        Kind = "conflict"
	Unprocessable   Kind = "unprocessable"
	Forbidden       Kind = "forbidden"
	BadRequest      Kind = "bad request"
	Redirected      Kind = "redirected"
	ForeignURL      Kind = "foreign URL"
	MalformedAnswer Kind = "malformed answer"
	Canceled        Kind = "canceled" // by who asked
)

// Party is who can mend something.
type Party string

// The parties.
const (
	PlatformAdmin Party = "platform administrator"
	ToolAdmin     Party = "tool administrator"
	Caller        Party = "caller"
	Nobody        Party = "nobody"
)

// Error is why a service, or the way to it, failed. It holds no token, no
// assertion and no query.
type Error struct {
	Kind     Kind
	Platform string // its name
	URL      string // without query
	Status   int    // of the answer, 0 if there was none
	Retry    bool   // whether the same request may succeed later
	After    time.Duration
	Whose    Party
	Words    string   // the platform's own, cut
	Scopes   []string // not granted
	Token    bool     // it happened when a token was asked for
	Err      error
}

func (e *Error) Unwrap() error { return e.Err }

// Error says in one sentence what happened and what helps.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Platform != "" {
		b.WriteString("platform " + strconv.Quote(e.Platform) + ": ")
	}
	b.WriteString(e.what())
	var cause string
	if e.Err != nil {
		cause = e.Err.Error()
		b.WriteString(": " + cause)
	}
	if e.URL != "" && !strings.Contains(cause, e.URL) {
		b.WriteString(" (" + e.URL)
		if e.Status != 0 {
			b.WriteString(" answered " + strconv.Itoa(e.Status))
		}
		b.WriteString(")")
	}
	if e.Words != "" {
		b.WriteString("; its words: " + strconv.Quote(e.Words))
	}
	return b.String()
}

func (e *Error) what() string {
	where := "the service"
	if e.Token {
		where = "the token endpoint"
	}
	switch e.Kind {
	case Unreachable:
		return where + " cannot be reached"
	case TimedOut:
		return where + " did not answer in time"
	case RateLimited:
		return where + " asks us to slow down"
	case ServerError:
		return where + " is out of order"
	case TokenRefused:
		switch {
		case !e.Token:
			return "the service does not accept the token that the platform just gave out; check the tool's permissions there"
		case e.Clock():
			return "no access token: the clock of one side is wrong"
		default:
			return "no access token: the platform does not recognise the tool; compare client id, token URL, audience and the tool's key set URL with its registration"
		}
	case ScopeNotGranted:
		return "the platform does not grant the tool " + strings.Join(e.Scopes, " and ") + "; allow it in the tool's settings there"
	case NotFound:
		if e.Token {
			return "there is no token endpoint at the configured URL"
		}
		return "what was asked for does not exist there any more, or not for this tool"
	case Conflict:
		return "the service has something newer or contradictory"
	case Unprocessable:
		return "the service understands the request but does not accept its content"
	case Forbidden:
		return where + " does not allow this to the tool"
	case BadRequest:
		return where + " does not accept the request"
	case Redirected:
		return where + " has moved; redirects are not followed with a credential, so its URL must be corrected"
	case ForeignURL:
		return "the URL is not among the services that the launch named"
	case MalformedAnswer:
		return "the answer of " + where + " cannot be understood"
	case Canceled:
		return "the request was given up"
	}
	return string(e.Kind)
}

// Clock reports whether a token was refused because the clock of one side is wrong,
// as far as the platform's words tell.
func (e *Error) Clock() bool {
	return e.Kind == TokenRefused && e.Token && clockTrouble.MatchString(e.Words)
}

// fromStatus judges a service's answer that is no success. Secrets are cut out
// of its words.
func fromStatus(resp *httpx.Response, now time.Time, secrets ...string) *Error {
	e := &Error{Status: resp.Status, Words: words(resp, secrets...)}
	switch s := resp.Status; {
	case s == http.StatusUnauthorized:
		e.Kind, e.Whose = TokenRefused, ToolAdmin
	case s == http.StatusTooManyRequests || s == http.StatusForbidden && throttled.MatchString(e.Words):
		e.Kind, e.Whose, e.Retry = RateLimited, Nobody, true // Canvas's throttle is a 403
	case s == http.StatusForbidden:
		e.Kind, e.Whose = Forbidden, PlatformAdmin
	case s == http.StatusNotFound || s == http.StatusGone:
		e.Kind, e.Whose = NotFound, PlatformAdmin
	case s == http.StatusConflict:
		e.Kind, e.Whose = Conflict, Caller
	case s == http.StatusUnprocessableEntity:
		e.Kind, e.Whose = Unprocessable, Caller
	case s == http.StatusRequestTimeout || s == http.StatusGatewayTimeout:
		e.Kind, e.Whose, e.Retry = TimedOut, PlatformAdmin, true
	case s == http.StatusTooEarly || s == http.StatusLocked:
		e.Kind, e.Whose, e.Retry = ServerError, Nobody, true
	case s == http.StatusNotImplemented || s == http.StatusHTTPVersionNotSupported:
		e.Kind, e.Whose = ServerError, PlatformAdmin
	case s >= 500:
		e.Kind, e.Whose, e.Retry = ServerError, PlatformAdmin, true
	case s >= 400:
		e.Kind, e.Whose = BadRequest, Caller
	case s >= 300:
		e.Kind, e.Whose = Redirected, PlatformAdmin
	default: // 101 and the like
		e.Kind, e.Whose = MalformedAnswer, PlatformAdmin
	}
	if e.Retry {
		e.After = retryAfter(resp.Header, now)
	}
	return e
}

// refusalWait is how long a refused tool waits before it asks again: platforms
// keep its old keys for minutes after it has new ones.
const refusalWait = time.Minute

// tokenRefusal judges a token endpoint's answer that is no success.
func tokenRefusal(resp *httpx.Response, now time.Time, secrets ...string) *Error {
	e := fromStatus(resp, now, secrets...)
	switch e.Kind {
	case Redirected, NotFound:
		e.Whose = ToolAdmin // who configured the URL
	case BadRequest, TokenRefused, Forbidden, Conflict, Unprocessable:
		e.Kind, e.Whose = TokenRefused, ToolAdmin
		switch oauthError(resp.Body) {
		case "invalid_scope":
			e.Kind, e.Whose = ScopeNotGranted, PlatformAdmin
		case "unauthorized_client", "unsupported_grant_type", "invalid_request", "invalid_grant":
		default: // invalid_client, or prose where a signature or a clock did not fit
			e.Retry, e.After = true, refusalWait
		}
	default: // whatever is wrong there has nothing to do with tokens
	}
	return e
}

func oauthError(body []byte) string {
	var answer struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return answer.Error
}

const maxRetryAfter = time.Hour

// retryAfter reads how long to wait (RFC 9110 §10.2.3), within bounds.
func retryAfter(h http.Header, now time.Time) time.Duration {
	val := strings.TrimSpace(h.Get("Retry-After"))
	var d time.Duration
	if secs, err := strconv.ParseUint(val, 10, 31); err == nil {
		d = time.Duration(secs) * time.Second
	} else if at, err := http.ParseTime(val); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

const (
	maxWords = 200
	maxRead  = 64 << 10
)

var (
	throttled    = regexp.MustCompile(`(?i)rate.?limit|throttl`)
	clockTrouble = regexp.MustCompile(`(?i)\biat\b|\bexp\b|expired|issued in the future|not yet valid`)

	// brokenJSON finds the message of a body that a platform pasted together,
	// with quotes inside it that nobody escaped.
	brokenJSON = regexp.MustCompile(`(?s)"(?:error_description|error|message|reason)"\s*:\s*"(.*?)"\s*[,}\]]`)

	htmlNoise = regexp.MustCompile(`(?is)<(script|style|head)\b.*?</(?:script|style|head)\s*>|<!--.*?-->`)
	htmlTag   = regexp.MustCompile(`(?s)<[^>]*>?`)
)

// words are what an answer says in its body or, as Moodle does, in its status
// line only.
func words(resp *httpx.Response, secrets ...string) string {
	s := bodyWords(resp.Body)
	if s == "" {
		s = resp.Reason
	}
	// Moodle repeats the whole score, with its comment, behind the reason.
	s, _, _ = strings.Cut(s, "{")
	for _, secret := range secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "…")
		}
	}
	return Sanitize(s, maxWords)
}

func bodyWords(body []byte) string {
	body = body[:min(len(body), maxRead)] // a message has no place further down
	text := strings.TrimSpace(string(body))
	switch {
	case text == "":
		return ""
	case json.Valid(body):
		var v any
		_ = json.Unmarshal(body, &v)
		return jsonWords(v, 0)
	case text[0] == '{' || text[0] == '[':
		if m := brokenJSON.FindStringSubmatch(text); m != nil {
			return m[1]
		}
		return ""
	case text[0] == '<':
		text = htmlNoise.ReplaceAllString(text, " ")
		return htmlTag.ReplaceAllString(text, " ")
	default:
		return text
	}
}

// jsonWords finds the message in the forms that platforms use: OAuth's, problem
// documents, Moodle's {"status", "reason"}, Canvas's {"errors": …}.
func jsonWords(v any, depth int) string {
	if depth > 4 {
		return ""
	}
	switch v := v.(type) {
	case string:
		return v
	case []any:
		for _, elem := range v {
			if s := jsonWords(elem, depth+1); s != "" {
				return s
			}
		}
	case map[string]any:
		for _, name := range []string{"error_description", "error", "message", "detail", "reason", "title", "errors"} {
			s := jsonWords(v[name], depth+1)
			if s == "" {
				continue
			}
			// The code is worth its place beside the description.
			if code, ok := v["error"].(string); ok && name == "error_description" {
				return code + ": " + s
			}
			return s
		}
	}
	return ""
}

// Sanitize makes words of a stranger fit for a log line: one line, without
// control and formatting characters, at most limit runes.
func Sanitize(s string, limit int) string {
	s = strings.ToValidUTF8(s, "�")
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			return ' '
		case unicode.Is(unicode.Cf, r): // such as those that turn the direction of text
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return s
}

// withoutQuery is rawURL for messages.
func withoutQuery(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
