// Package deeplink answers deep-linking requests: a teacher adds content to a
// course, the platform opens the tool to have it chosen, and the tool sends back
// what was chosen as a signed message (LTI Deep Linking 2.0).
//
//	req := deeplink.NewRequest(launch, now)          // platform → tool, verified by package lti
//	res, err := deeplink.ParseResponse(body)         // what the app chose
//	answer, err := req.Answer(now, keys, site, res)  // tool → platform, signed
//
// The answer goes through the person's browser: a form posts its JWT, as the field
// JWT, to its ReturnURL, which may have a query and stays as it is. Where it goes
// and whom it is for comes from the verified request alone.
//
// What an app chooses is read strictly, and held against what the platform said
// that it takes: platforms drop what they do not like without a word. A [Request]
// is good for [Lifetime]. That it is answered once is the caller's business.
package deeplink
