package devlms

import (
	"strings"
)

// Kinds of messages.
const (
	kindLogin         = "login"
	kindAuth          = "auth"
	kindResponse      = "response"
	kindDeepLink      = "deeplink"
	kindReturn        = "return"
	kindToken         = "token"
	kindScore         = "score"
	kindResults       = "results"
	kindLineItems     = "lineitems"
	kindMembers       = "members"
	kindKeys          = "keys"
	kindToolKeys      = "toolkeys"
	kindConfiguration = "configuration"
	kindRegistration  = "registration"
	kindOther         = "other"

	// kindNone is what people do in the LMS itself.
	kindNone = "none"
)

// kindLabel is a kind as people read it.
type kindLabel struct{ Kind, Label string }

// kinds lists those that are kept.
var kinds = []kindLabel{
	{kindLogin, "Login initiation"},
	{kindAuth, "Authentication request"},
	{kindResponse, "Authentication response"},
	{kindDeepLink, "Deep linking response"},
	{kindReturn, "Way back to the LMS"},
	{kindToken, "Access token request"},
	{kindScore, "Score"},
	{kindResults, "Results"},
	{kindLineItems, "Line items"},
	{kindMembers, "Roster"},
	{kindKeys, "Key set of the LMS"},
	{kindToolKeys, "Key set of the tool"},
	{kindConfiguration, "OpenID configuration"},
	{kindRegistration, "Registration"},
	{kindOther, "Something else"},
}

func labelOf(kind string) string {
	for _, k := range kinds {
		if k.Kind == kind {
			return k.Label
		}
	}
	return kind
}

// browserKinds come through a browser, so that a page is their answer.
var browserKinds = []string{kindAuth, kindDeepLink, kindReturn}

// routeKinds are the kinds by the beginning of the route's pattern, or all of it
// where there is no more; the first that fits is it.
var routeKinds = []struct{ begins, ends, kind string }{
	{"/course/", "", kindNone},
	{"/assets/", "", kindNone},
	{"/admin/", "", kindNone},
	{"/inspect", "", kindNone},
	{"/faults", "", kindNone},
	{"/grades.json", "", kindNone},
	{"/person", "", kindNone},
	{"/auth", "", kindAuth},
	{"/deeplink/return/", "", kindDeepLink},
	{"/return/", "", kindReturn},
	{tokenPath, "", kindToken},
	{"/ags/", "/scores", kindScore},
	{"/ags/", "/results", kindResults},
	{"/ags/", "", kindLineItems},
	{"/nrps/", "", kindMembers},
	{"/jwks", "", kindKeys},
	{"", "/openid-configuration", kindConfiguration},
	{"/regist", "", kindRegistration},
}

// kindOf tells what a request is by the route that serves it. What is not known
// here, such as a path that no route has, is something else.
func kindOf(pattern string) string {
	for _, k := range routeKinds {
		if pattern != "" && strings.HasPrefix(pattern, k.begins) && strings.HasSuffix(pattern, k.ends) {
			return k.kind
		}
	}
	return kindOther
}
