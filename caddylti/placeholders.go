package caddylti

import "strings"

// lookUp returns the value of one of our placeholders.
func (f *facts) lookUp(key string) (string, bool) {
	if name, ok := strings.CutPrefix(key, "http.auth.user."); ok {
		switch name {
		case "id":
			return f.RemoteUser, true
		case "name":
			return f.Name, true
		case "email":
			return f.Email, true
		}
		return "", false
	}
	name, ok := strings.CutPrefix(key, "http.lti.")
	if !ok {
		return "", false
	}
	if custom, ok := strings.CutPrefix(name, "custom."); ok {
		return f.Custom[customName(custom)], true
	}
	get, ok := placeholders[name]
	if !ok {
		return "", false
	}
	return get(f), true
}

// placeholders has every name below http.lti but the custom parameters.
var placeholders = map[string]func(*facts) string{
	"user.id":             func(f *facts) string { return f.Subject },
	"user.name":           func(f *facts) string { return f.Name },
	"user.given_name":     func(f *facts) string { return f.GivenName },
	"user.family_name":    func(f *facts) string { return f.FamilyName },
	"user.email":          func(f *facts) string { return f.Email },
	"user.locale":         func(f *facts) string { return f.Locale },
	"roles":               func(f *facts) string { return strings.Join(f.Roles, " ") },
	"groups":              func(f *facts) string { return f.groups() },
	"platform":            func(f *facts) string { return f.Platform },
	"issuer":              func(f *facts) string { return f.Issuer },
	"client_id":           func(f *facts) string { return f.ClientID },
	"deployment_id":       func(f *facts) string { return f.Deployment },
	"context.id":          func(f *facts) string { return f.ContextID },
	"context.label":       func(f *facts) string { return f.ContextLabel },
	"context.title":       func(f *facts) string { return f.ContextTitle },
	"resource_link.id":    func(f *facts) string { return f.ResourceLink },
	"resource_link.title": func(f *facts) string { return f.ResourceTitle },
	"message_type":        func(f *facts) string { return f.Message },
	"launch_id":           func(f *facts) string { return f.LaunchID },
	"return_url":          func(f *facts) string { return f.ReturnURL },
}

// neededFor says what has to be kept for a placeholder to have a value.
func neededFor(key string) (people, extras bool) {
	switch name, _ := strings.CutPrefix(key, "http.lti."); {
	case strings.HasPrefix(name, "custom."), name == "return_url":
		return false, true
	case strings.HasPrefix(name, "user.") && name != "user.id",
		name == "context.label", name == "context.title", name == "resource_link.title",
		key == "http.auth.user.name", key == "http.auth.user.email":
		return true, false
	}
	return false, false
}

// replaceAll fills the placeholders of the launch in a text.
func (f *facts) replaceAll(s string) string {
	return placeholder.ReplaceAllStringFunc(s, func(m string) string {
		val, _ := f.lookUp(m[1 : len(m)-1])
		return val
	})
}
