// Package nrps is a client of the Names and Role Provisioning Services 2.0: who
// is in a course, with which roles.
//
//	client := nrps.New(caller, nrps.Endpoint{URL: …}) // from the launch's claim
//	roster, err := client.Open(ctx, nrps.Filter{Role: "Learner"})
//	…
//	defer roster.Close()
//	for m, err := range roster.Members() {
//		…
//	}
//
// A roster passes through as it comes, whether the platform sends it as one page
// or as many: memory is needed for one member, and about fifty bytes for each
// person told, to know who comes again. It is whole if the loop ended without an
// error, and only then.
//
// How a request gets its token is the business of a [Caller]. Every error is an
// [Error], which says whether to try again and who can mend it.
//
// Platforms write the same things differently. Members have one form: roles are
// full URIs, for Moodle sends short names; a status is always there; names are
// plain text, for Moodle escapes them for HTML; filters are applied again to what
// came, for some platforms ignore them; and who comes several times, once for
// each role, is one member (see [Roster.Members]).
package nrps
