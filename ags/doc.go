// Package ags is a client of the Assignment and Grade Services 2.0: line items
// (the columns of a gradebook), scores that a tool reports, and results that the
// gradebook shows.
//
//	client := ags.New(caller, ags.Endpoint{LineItem: …, Scopes: …}) // from the launch's claim
//	err := client.SendScore(ctx, lineItem, ags.Score{UserID: sub, ScoreGiven: &given, ScoreMaximum: &maximum, Timestamp: now})
//
// How a request gets its token is the business of a [Caller]. Every error of a
// [Client] is an [Error], which says whether to try again and who can mend it.
//
// Some of what this package does is for platforms that deviate: a score without
// scoreGiven, or one that is not FullyGraded, deletes the grade in Moodle (see
// [Score.Erases]); filters are applied again to what a list returns; links to
// the next page are read in Moodle's broken form, too.
package ags
