package caddylti

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"iter"
	"strings"
	"unicode"

	"github.com/caddy-lti/lti/lti"
	"github.com/caddy-lti/lti/nrps"
)

var formCSV = &form{"text/csv; charset=utf-8", "c", writeRosterCSV}

var csvHeader = []string{"user_id", "name", "given_name", "family_name", "email", "roles", "status"}

// byteOrderMark tells spreadsheets that what follows is UTF-8.
const byteOrderMark = "\ufeff"

// writeRosterCSV writes a table (RFC 4180) that is safe to open in a spreadsheet.
func writeRosterCSV(out *bufio.Writer, _ []byte, lines iter.Seq2[[]byte, error]) error {
	_, _ = out.WriteString(byteOrderMark)
	table := csv.NewWriter(out)
	table.UseCRLF = true
	_ = table.Write(csvHeader)
	for line, err := range lines {
		if err != nil {
			return err
		}
		var m nrps.Member
		if err := json.Unmarshal(line, &m); err != nil {
			return err
		}
		if err := table.Write(csvRow(&m)); err != nil {
			return err
		}
	}
	table.Flush()
	return table.Error()
}

func csvRow(m *nrps.Member) []string {
	roles := make([]string, len(m.Roles))
	for i, uri := range m.Roles {
		roles[i] = uri
		if short, ok := lti.ShortRole(uri); ok {
			roles[i] = short
		}
	}
	row := []string{m.UserID, m.Name, m.GivenName, m.FamilyName, m.Email, strings.Join(roles, ","), m.Status}
	for i, s := range row {
		row[i] = defused(s)
	}
	return row
}

// formulaSigns begin a formula in one spreadsheet or another.
const formulaSigns = "=+-@＝＋－＠﹦﹢﹣﹫"

// defused is a text that no spreadsheet takes for a formula: an apostrophe stands
// before what could be one. In half of Europe a semicolon begins a new cell,
// whatever the quotes of the file say, so what follows one counts as a beginning.
// Control characters become spaces.
func defused(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	cells := strings.Split(s, ";")
	for i, cell := range cells {
		bare := strings.TrimLeftFunc(cell, func(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || r == '"' })
		if bare != "" && strings.ContainsRune(formulaSigns, []rune(bare)[0]) {
			cells[i] = "'" + cell
		}
	}
	return strings.Join(cells, ";")
}
