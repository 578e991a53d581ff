// Package look is what the gateway's pages and the demo LMS's have in common to the eye.
package look

import _ "embed"

// CSS is the style sheet that every page begins with. It defines the colours, as custom properties of
// :root for light and dark screens, and the plain elements. What only one kind of page has is in the
// style sheet of its package.
//
//go:embed look.css
var CSS string
