// Package dynreg registers the tool with a platform (LTI Dynamic Registration
// 1.0, on OpenID Connect Discovery and Dynamic Client Registration 1.0).
//
//	cfg, err := dynreg.Discover(ctx, client, openIDConfiguration, token)
//	req, err := dynreg.NewRequest(cfg, tool)              // sends nothing
//	res, err := dynreg.Register(ctx, client, cfg, token, req)
//
// A platform's administrator opens the tool's registration URL, to which the
// platform adds openid_configuration, a URL, and perhaps registration_token.
// Nothing vouches for either: whoever knows the registration URL can send his own.
// The caller decides who may; it must not let an answer replace a registration of
// the same issuer and client id, and approves what comes of it, or has it approved.
// The one thing that this package proves is that the configuration comes from the
// host of the issuer that it names. So it follows no redirect: one that leads
// elsewhere would let anybody speak for an issuer.
//
// What has no bearing on that is read as forgivingly as real platforms need it.
// The documents seen are those of Moodle (recorded), Canvas, Brightspace and
// Blackboard.
package dynreg
