package lab

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Deviation is how a launch differs from a good one. In all values, words in
// braces stand for something; see [Expand].
type Deviation struct {
	Login  map[string]any `json:"login"`  // parameters of the login initiation
	Claims map[string]any `json:"claims"` // lti:NAME is short for a claim of LTI core
	Header map[string]any `json:"header"` // of the JWS
	// PayloadTail and HeaderTail are written before the closing brace, for what
	// no map can hold; Payload replaces all claims.
	PayloadTail string  `json:"payload_tail"`
	HeaderTail  string  `json:"header_tail"`
	Payload     *string `json:"payload"`
	// Sign names the key, or another way to make a signature: none, zero, or hmac
	// and what the secret is. Default: rsa, the platform's own.
	Sign string `json:"sign"`
	// Token names what is done to the signed token; see mangle.
	Token string `json:"token"`

	Form        map[string]any `json:"form"` // fields; a list is a field that occurs repeatedly
	Body        string         `json:"body"` // instead of the form
	Query       string         `json:"query"`
	ContentType string         `json:"content_type"`
	// Cookies says which state cookie comes back: dropped, other-browser,
	// forged, shadowed, or kept, which undoes its deletion.
	Cookies string `json:"cookies"`
	// Used has a good launch use up the login first.
	Used bool `json:"used"`
	// Page has the browser ask for a page instead of a problem document.
	Page bool `json:"page"`
}

// Message is what a deviation is applied to: a good token, before it is signed.
type Message struct {
	Claims map[string]any
	Header map[string]any
	Keys   map[string]Key // by the names that Sign takes; rsa is the platform's own
	Fill   Fill
}

// MakeToken makes the id_token.
func (d *Deviation) MakeToken(m Message) (string, error) {
	diff, err := expandObject(d.Claims, m.Fill)
	if err != nil {
		return "", err
	}
	claims := make(map[string]any, len(diff))
	for name, val := range diff {
		if short, ok := strings.CutPrefix(name, "lti:"); ok {
			name = Claim(short)
		}
		claims[name] = val
	}
	payload, err := marshal(With(m.Claims, claims), d.PayloadTail, m.Fill)
	if err != nil {
		return "", err
	}
	if d.Payload != nil {
		text, err := expandText(*d.Payload, m.Fill)
		if err != nil {
			return "", err
		}
		payload = []byte(text)
	}
	diff, err = expandObject(d.Header, m.Fill)
	if err != nil {
		return "", err
	}
	fields := With(m.Header, diff)
	name := d.Sign
	if name == "" {
		name = "rsa"
	}
	key, known := m.Keys[name]
	if _, ok := d.Header["alg"]; !ok && known {
		fields["alg"] = key.algorithm()
	}
	header, err := marshal(fields, d.HeaderTail, m.Fill)
	if err != nil {
		return "", err
	}

	var token string
	switch form, isHMAC := strings.CutPrefix(name, "hmac "); {
	case known:
		// A name that the key cannot sign with is left to the header alone.
		alg, _ := fields["alg"].(string)
		if !key.signsWith(alg) {
			alg = key.algorithm()
		}
		token = key.SignBytes(header, payload, alg, nil)
	case isHMAC:
		secret, err := m.Keys["rsa"].as(form)
		if err != nil {
			return "", err
		}
		token = key.SignBytes(header, payload, "HS256", secret)
	case name == "none":
		token = key.SignBytes(header, payload, "none", nil)
	case name == "zero": // CVE-2022-21449
		token = key.SignBytes(header, payload, "none", nil) + encode(make([]byte, 64))
	default:
		return "", fmt.Errorf("unknown way to sign %q", name)
	}
	return mangle(d.Token, token)
}

// MakeBody makes the body of the form post that brings state and token.
func (d *Deviation) MakeBody(state, token string, fill Fill) (string, error) {
	if d.Body != "" {
		return expandText(d.Body, fill)
	}
	diff, err := expandObject(d.Form, fill)
	if err != nil {
		return "", err
	}
	form := make(url.Values)
	for name, val := range With(map[string]any{"state": state, "id_token": token}, diff) {
		if list, ok := val.([]any); ok {
			for _, v := range list {
				form.Add(name, fmt.Sprint(v))
			}
		} else {
			form.Set(name, fmt.Sprint(val))
		}
	}
	return form.Encode(), nil
}

// MakeLogin makes the parameters of the login initiation.
func (d *Deviation) MakeLogin(good map[string]any, fill Fill) (url.Values, error) {
	diff, err := expandObject(d.Login, fill)
	if err != nil {
		return nil, err
	}
	params := make(url.Values)
	for name, val := range With(good, diff) {
		params.Set(name, fmt.Sprint(val))
	}
	return params, nil
}

// marshal writes an object, with tail before its closing brace.
func marshal(v any, tail string, fill Fill) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	text, err := expandText(tail, fill)
	if err != nil {
		return nil, err
	}
	return append(append(data[:len(data)-1:len(data)-1], text...), '}'), nil
}

// mangle changes a signed token.
func mangle(how, token string) (string, error) {
	if how == "" {
		return token, nil
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("what is to be mangled is no compact JWS")
	}
	head, payload, sig := parts[0], parts[1], parts[2]
	raw := func(part string) []byte {
		data, err := decode(part)
		if err != nil {
			panic(err) // it was encoded here
		}
		return data
	}
	replace := func(part, from, to string) string {
		return encode([]byte(strings.Replace(string(raw(part)), from, to, 1)))
	}
	out := token
	switch how {
	case "payload-changed":
		out = head + "." + replace(payload, `"user-1"`, `"user-2"`) + "." + sig
	case "header-changed":
		out = replace(head, `"JWT"`, `"jwt"`) + "." + payload + "." + sig
	case "signature-changed":
		data := raw(sig)
		data[len(data)/2] ^= 1
		out = head + "." + payload + "." + encode(data)
	case "signature-cut":
		data := raw(sig)
		out = head + "." + payload + "." + encode(data[:len(data)/2])
	case "signature-empty":
		out = head + "." + payload + "."
	case "signature-gone":
		out = head + "." + payload
	case "payload-empty":
		out = head + ".." + sig
	case "four-parts":
		out = token + "." + sig
	case "five-parts":
		out = head + "." + sig + "." + payload + "." + sig + "." + sig
	case "json-flattened":
		return fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, head, payload, sig), nil
	case "json-general":
		return fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, payload, head, sig), nil
	case "padded":
		pad := func(s string) string { return s + strings.Repeat("=", (4-len(s)%4)%4) }
		return pad(head) + "." + pad(payload) + "." + pad(sig), nil
	case "standard-alphabet":
		out = head + "." + payload + "." + base64.RawStdEncoding.EncodeToString(append(raw(sig)[:255], 0xff)) + "+/+/"
	case "stray-bits":
		// The last character of 256 bytes carries two bits; the other four are
		// zero, and a lenient decoder does not mind if they are not.
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := strings.IndexByte(alphabet, sig[len(sig)-1])
		out = token[:len(token)-1] + alphabet[last|1:last|1+1]
	case "line-break":
		out = head + "." + payload + "." + sig[:40] + "\r\n" + sig[40:]
	case "space-around":
		out = " " + token + "\n"
	case "reversed":
		out = sig + "." + payload + "." + head
	}
	if out == token {
		return "", fmt.Errorf("the way to mangle %q is unknown, or changes nothing", how)
	}
	return out, nil
}
