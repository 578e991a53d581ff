// Package lti is the core of LTI 1.3 as a tool sees it: reading a platform's
// login initiation, asking for a launch, and deciding whether what comes back
// is to be believed.
//
// The flow is the one of the 1EdTech Security Framework 1.0 §5.1:
//
//	req, err := lti.ParseLoginRequest(values)        // platform → tool
//	url, err := lti.AuthRequest{…}.URL(platform)     // tool → platform
//	launch, err := verifier.Verify(ctx, platform, …) // platform → tool, signed
//
// The package keeps no state. What a login knew has to travel in the state
// parameter, bound to the browser; a nonce has to be consumed in one atomic
// step after Verify has accepted the token. Both are the caller's.
//
// Every refusal is an *Error with a stable Code, the section of the
// specification that was broken, and who can mend it. Its text never contains a
// person's name, e-mail address or user id, nor a token or nonce.
//
// Optional claims are read leniently, since platforms differ: null, a wrong
// type, an unknown member or an unfilled $Variable count as absent. Custom
// parameters are passed on as they came, unfilled variables too (App. B). What
// security rests on is read strictly.
package lti
