package catalog

import (
	"cmp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// fold makes texts equal that people take for the same when they search: case,
// accents and vowel points, full and half width, ligatures, the digits of other
// scripts, typographic quotes and dashes. It removes control characters.
func fold(s string) string {
	if isASCII(s) {
		return strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return -1
			}
			return unicode.ToLower(r)
		}, s)
	}
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range norm.NFKD.String(s) {
		switch r = unicode.ToLower(r); {
		case r < 0x80:
			if r >= ' ' && r != 0x7f {
				b.WriteByte(byte(r))
			}
		case unicode.IsDigit(r):
			b.WriteByte(digit(r))
		case dropped(r):
		default:
			if plain, ok := plain[r]; ok {
				b.WriteString(plain)
			} else {
				b.WriteRune(r)
			}
		}
	}
	// Hangul, and what keeps its marks, is put together again.
	return norm.NFC.String(b.String())
}

// plain has letters that do not decompose, and what keyboards lack.
var plain = map[rune]string{
	'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'ł': "l", 'đ': "d", 'ð': "d", 'þ': "th", 'ħ': "h", 'ı': "i", 'ς': "σ",
	'‘': "'", '’': "'", '“': `"`, '”': `"`, '„': `"`, '«': `"`, '»': `"`, '‐': "-", '–': "-", '—': "-", '−': "-",
}

// dropped reports whether a character makes no difference: accents and vowel
// points of the scripts that can be written without, the Arabic tatweel, and
// what is invisible. Marks of Indian scripts and Thai are letters.
func dropped(r rune) bool {
	switch r {
	case 0x0640:
		return true
	case 0x3099, 0x309A: // the voicing of kana
		return false
	}
	return unicode.In(r, unicode.Cf, unicode.Cc) ||
		(unicode.Is(unicode.Mn, r) && unicode.In(r, unicode.Inherited, unicode.Arabic, unicode.Hebrew, unicode.Cyrillic, unicode.Syriac))
}

// digit returns a decimal digit in ASCII. In Unicode they stand in rows of ten.
func digit(r rune) byte {
	const ascii = "0123456789"
	for _, row := range unicode.Nd.R16 {
		if r >= rune(row.Lo) && r <= rune(row.Hi) {
			return ascii[(r-rune(row.Lo))%10]
		}
	}
	for _, row := range unicode.Nd.R32 {
		if r >= rune(row.Lo) && r <= rune(row.Hi) { // #nosec G115 -- runes of the table
			return ascii[(r-rune(row.Lo))%10]
		}
	}
	return '0'
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// natural compares folded texts, the numbers in them by their value.
func natural(a, b string) int {
	for a != "" && b != "" {
		if isDigit(a[0]) && isDigit(b[0]) {
			var m, n string
			m, a = number(a)
			n, b = number(b)
			if c := cmp.Or(cmp.Compare(len(m), len(n)), strings.Compare(m, n)); c != 0 {
				return c
			}
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// number cuts the digits that s begins with, without leading zeros.
func number(s string) (n, rest string) {
	end := 0
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	return strings.TrimLeft(s[:end], "0"), s[end:]
}
