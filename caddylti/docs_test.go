package caddylti

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	_ "github.com/caddy-lti/lti/devlms" // which some Caddyfiles have
	"github.com/caddy-lti/lti/internal/page"
	"github.com/caddy-lti/lti/lti"
)

const reference = "../docs/caddyfile.md"

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// documented is what docs/caddyfile.md says of an option.
type documented struct {
	body, def, example, json string
}

// readReference returns the options below each heading "Options of…" and "Global
// options" of the reference.
func readReference(t *testing.T) map[string]map[string]documented {
	t.Helper()
	sections := make(map[string]map[string]documented)
	heading := regexp.MustCompile("(?m)^## (.+)$")
	option := regexp.MustCompile("(?m)^### `(\\w+)`$")
	line := func(body, name string) string {
		m := regexp.MustCompile("(?m)^- " + name + ": (.+)$").FindStringSubmatch(body)
		if m == nil {
			return ""
		}
		return m[1]
	}
	doc := readFile(t, reference)
	for i, at := range cuts(heading, doc) {
		if i == 0 {
			continue
		}
		title := heading.FindStringSubmatch(at)[1]
		for j, body := range cuts(option, at) {
			if j == 0 {
				continue
			}
			name := option.FindStringSubmatch(body)[1]
			if sections[title] == nil {
				sections[title] = make(map[string]documented)
			}
			if _, ok := sections[title][name]; ok {
				t.Errorf("%s: %s is there twice", title, name)
			}
			sections[title][name] = documented{body, line(body, "Default"), strings.Trim(line(body, "Example"), "`"), line(body, "JSON")}
		}
	}
	return sections
}

// withFolders gives a Caddyfile the folders that its reader would have.
func withFolders(source string) string {
	return strings.ReplaceAll(source, "/etc/lti/pages", "../examples/pages")
}

// cuts splits s before each match.
func cuts(re *regexp.Regexp, s string) []string {
	var parts []string
	from := 0
	for _, at := range re.FindAllStringIndex(s, -1) {
		parts = append(parts, s[from:at[0]])
		from = at[0]
	}
	return append(parts, s[from:])
}

// parseSources parses this package without its tests.
func parseSources(t *testing.T, dir string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	var parsed []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	return parsed
}

// parserWords returns the words that a function of the parser knows: its options,
// by the clauses of its outermost switches, and for each the values that oneOf
// allows.
func parserWords(t *testing.T, receiver, function string) map[string][]string {
	t.Helper()
	words := make(map[string][]string)
	for _, f := range parseSources(t, ".") {
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Name.Name != function || receiverOf(fn) != receiver {
				continue
			}
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				clause, ok := n.(*ast.CaseClause)
				if !ok {
					return true
				}
				for _, expr := range clause.List {
					if word, ok := literal(expr); ok {
						words[word] = append(words[word], oneOfValues(clause)...)
					}
				}
				return true
			})
		}
	}
	if len(words) == 0 {
		t.Fatalf("no words found in %s.%s: has the parser another form?", receiver, function)
	}
	return words
}

func receiverOf(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	expr := fn.Recv.List[0].Type
	if star, ok := expr.(*ast.StarExpr); ok {
		expr = star.X
	}
	return expr.(*ast.Ident).Name
}

func literal(expr ast.Expr) (string, bool) {
	lit, ok := expr.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

func oneOfValues(clause *ast.CaseClause) []string {
	var vals []string
	ast.Inspect(clause, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "oneOf" {
			for _, arg := range call.Args[2:] {
				if s, ok := literal(arg); ok {
					vals = append(vals, s)
				}
			}
		}
		return true
	})
	return vals
}

// What the parser knows is in the reference, and the other way round.
func TestReferenceHasEveryOption(t *testing.T) {
	sections := readReference(t)
	known := map[string]map[string][]string{
		"Options of a site":         parserWords(t, "Handler", "UnmarshalCaddyfile"),
		"Options of `session`":      parserWords(t, "Handler", "unmarshalSession"),
		"Options of `platform`":     parserWords(t, "Handler", "unmarshalPlatform"),
		"Options of `registration`": parserWords(t, "Handler", "unmarshalRegistration"),
		"Options of `items`":        parserWords(t, "Handler", "unmarshalItems"),
		"Options of `item`":         parserWords(t, "Handler", "unmarshalItem"),
		"Options of `deep_linking`": parserWords(t, "Handler", "unmarshalDeepLinking"),
		"Options of `grade`":        parserWords(t, "Handler", "unmarshalGrade"),
		"Options of `api`":          parserWords(t, "Handler", "unmarshalAPI"),
		"Options of `key`":          parserWords(t, "Handler", "unmarshalKey"),
		"Global options":            parserWords(t, "", "parseGlobal"),
		"Options of `http_client`":  parserWords(t, "App", "unmarshalClient"),
		"Options of `outbox`":       parserWords(t, "App", "unmarshalOutbox"),
		"Options of `keys`":         parserWords(t, "App", "unmarshalKeys"),
	}
	blocks := []string{"session", "platform", "http_client", "api", "key", "grade", "outbox", "keys", "items", "deep_linking", "registration"}
	for title, words := range known {
		for word, vals := range words {
			d, ok := sections[title][word]
			if !ok {
				t.Errorf("%s: %s is missing", title, word)
				continue
			}
			if d.def == "" || d.json == "" || (d.example == "") != slices.Contains(blocks, word) {
				t.Errorf("%s: %s needs lines for Default and JSON and, if it is no block, for Example", title, word)
			}
			for _, val := range vals {
				if !strings.Contains(d.body, "`"+val+"`") {
					t.Errorf("%s: %s does not name the value %s", title, word, val)
				}
			}
		}
		for word := range sections[title] {
			if _, ok := words[word]; !ok {
				t.Errorf("%s: the parser does not know %s", title, word)
			}
		}
	}
	for title := range sections {
		if known[title] == nil {
			t.Errorf("%q has options and is not tested", title)
		}
	}
	doc := readFile(t, reference)
	for kind := range parserWords(t, "Matcher", "unmarshalKind") {
		if !strings.Contains(doc, "\n| `"+kind+"` |") {
			t.Errorf("the matcher's kind %s is missing", kind)
		}
	}
	for name := range presets {
		if !strings.Contains(sections["Options of `platform`"]["preset"].body, "`"+name+"`") {
			t.Errorf("the preset %s is missing", name)
		}
	}
	// The grammar in the doc comments, too.
	for title, words := range known {
		grammar := grammarOf(t, title)
		for word := range words {
			if !regexp.MustCompile(`(?m)^\s*` + word + `\b`).MatchString(grammar) {
				t.Errorf("the grammar in the comment of the parser lacks %s (%s)", word, title)
			}
		}
	}
}

// grammarOf returns the comment that has the grammar of a section.
func grammarOf(t *testing.T, title string) string {
	t.Helper()
	receiver, function := "Handler", "UnmarshalCaddyfile"
	if slices.Contains([]string{"Global options", "Options of `http_client`", "Options of `outbox`", "Options of `keys`"}, title) {
		receiver, function = "", "parseGlobal"
	}
	for _, f := range parseSources(t, ".") {
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Name.Name == function && receiverOf(fn) == receiver {
				return fn.Doc.Text()
			}
		}
	}
	t.Fatalf("no %s.%s", receiver, function)
	return ""
}

// Each option's example is one that works.
func TestReferenceExamples(t *testing.T) {
	t.Setenv("LTI_CLIENT_ID", "tool")
	t.Setenv("LTI_INVITE", "c0ffee0123456789abcdef0123456789")
	platform := func(line string) string {
		lines := []string{
			"issuer https://lms.example.edu", "auth_url https://lms.example.edu/auth", "jwks_url https://lms.example.edu/jwks", "token_url https://lms.example.edu/token", "client_id tool", "deployment 1",
		}
		name, _, _ := strings.Cut(line, " ")
		lines = slices.DeleteFunc(lines, func(l string) bool { return name != "" && strings.HasPrefix(l, name+" ") })
		return "platform lms {\n" + strings.Join(append(lines, line), "\n") + "\n}\n"
	}
	site := func(options, behind string) string {
		return "tool.example.edu {\nlti {\n" + options + "\n}\n" + behind + "\n}\n"
	}
	frames := map[string]func(example string) string{
		"Options of a site":     func(e string) string { return site(e+"\n"+platform(""), "") },
		"Options of `session`":  func(e string) string { return site("session {\n"+e+"\n}\n"+platform(""), "") },
		"Options of `platform`": func(e string) string { return site(platform(e), "") },
		"Options of `grade`":    func(e string) string { return site("grade {\n"+e+"\n}\n"+platform(""), "") },
		"Options of `api`":      func(e string) string { return site("api {\n"+e+"\n}\n"+platform(""), "") },
		"Options of `key`": func(e string) string {
			more := ""
			if !strings.HasPrefix(e, "allow ") {
				more = "\nallow scores"
			}
			return site("api {\nkey nightly 0123456789abcdefghijkl {\nplatform lms\n"+e+more+"\n}\n}\n"+platform(""), "")
		},
		"Global options":           func(e string) string { return "{\nlti {\n" + e + "\n}\n}\n" + site(platform(""), "") },
		"Options of `http_client`": func(e string) string { return "{\nlti {\nhttp_client {\n" + e + "\n}\n}\n}\n" + site(platform(""), "") },
		"Options of `items`": func(e string) string {
			if !strings.HasPrefix(e, "folder") {
				e = "folder .\n" + e
			}
			return site("items {\n"+e+"\n}\n"+platform(""), "")
		},
		"Options of `item`": func(e string) string {
			return site("items {\nitem /quiz-7 \"Quiz 7\" {\n"+e+"\n}\n}\n"+platform(""), "")
		},
		"Options of `deep_linking`": func(e string) string {
			if !strings.HasPrefix(e, "app") {
				e = "app\n" + e
			}
			return site("deep_linking {\n"+e+"\n}\n"+platform(""), "")
		},
		"Options of `registration`": func(e string) string {
			return site("public /logo.png\nregistration {\n"+e+"\n}\n", "")
		},
		"Options of `keys`":   func(e string) string { return "{\nlti {\nkeys {\n" + e + "\n}\n}\n}\n" + site(platform(""), "") },
		"Options of `outbox`": func(e string) string { return "{\nlti {\noutbox {\n" + e + "\n}\n}\n}\n" + site(platform(""), "") },
	}
	examples := 0
	try := func(source, example string) {
		examples++
		out, _, err := adaptCaddyfile(withFolders(source))
		if err != nil {
			t.Errorf("%s: %v", example, err)
		} else if err := validateJSON(t, out); err != nil {
			t.Errorf("%s: %v", example, err)
		}
	}
	for title, options := range readReference(t) {
		for name, d := range options {
			if d.example == "" {
				continue
			}
			if !strings.HasPrefix(d.example, name+" ") {
				t.Errorf("%s: the example of %s is %q", title, name, d.example)
			}
			try(frames[title](d.example), d.example)
		}
	}
	for _, m := range regexp.MustCompile("\\| `@(\\w+) (lti [^`]+)` \\|").FindAllStringSubmatch(readFile(t, reference), -1) {
		try(site(platform(""), "@"+m[1]+" "+m[2]+"\nrespond @"+m[1]+" ok"), m[0])
	}
	if examples < 25 {
		t.Errorf("only %d examples found", examples)
	}
}

// Every name that JSON has stands in the reference.
func TestReferenceHasEveryJSONName(t *testing.T) {
	sections := readReference(t)
	doc := readFile(t, reference)
	for _, typ := range configTypes {
		for _, tag := range jsonTags(t, typ) {
			found := typ == reflect.TypeFor[Matcher]() && strings.Contains(doc, "| `"+tag+"` |\n")
			for _, options := range sections {
				for _, d := range options {
					found = found || strings.Contains(d.json, "`"+tag+"`")
				}
			}
			if !found {
				t.Errorf("%s.%s: no JSON line of %s has it", typ.Name(), tag, reference)
			}
		}
	}
}

func TestReferenceHasEveryHeader(t *testing.T) {
	full := &facts{
		LaunchID: "x", Platform: "x", Issuer: "x", ClientID: "x", Deployment: "x", Subject: "x", RemoteUser: "x", Message: "x",
		Roles: []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"}, ContextID: "x", ResourceLink: "x", Name: "x", Email: "x",
		Locale: "x", ContextLabel: "x", ContextTitle: "x", ResourceTitle: "x", ReturnURL: "x", Custom: map[string]string{"name": "x"},
		DeepLinking: &lti.DeepLinking{AcceptTypes: []string{"x"}, AcceptTargets: []string{"x"}, AcceptMediaTypes: []string{"x"}, AcceptLineItem: new(bool)},
	}
	_, section, _ := strings.Cut(readFile(t, reference), "\n## Headers to the app\n")
	section, _, _ = strings.Cut(section, "\n## ")
	names := func(s string) []string {
		var found []string
		for _, m := range regexp.MustCompile("`((?:X-LTI|Remote)-[A-Za-z-]+)`").FindAllStringSubmatch(s, -1) {
			found = append(found, http.CanonicalHeaderKey(m[1]))
		}
		return found
	}
	var inTable []string
	for row := range strings.SplitSeq(section, "\n") {
		if cells := strings.Split(row, " | "); len(cells) >= 3 {
			inTable = append(inTable, names(cells[0])...)
		}
	}
	var so []string // each set has all of the one before it
	for _, set := range []string{"minimal", "standard", "full"} {
		row := regexp.MustCompile("(?m)^\\| `" + set + "` \\|.*$").FindString(section)
		so = append(so, names(row)...)
		var sent []string
		for name := range identityOf(set, full) {
			sent = append(sent, name)
			if !slices.Contains(inTable, name) {
				t.Errorf("%s is not explained", name)
			}
		}
		slices.Sort(sent)
		listed := slices.Sorted(slices.Values(so))
		if !slices.Equal(sent, listed) {
			t.Errorf("%s: sent are %v\nlisted are %v", set, sent, listed)
		}
	}
	for _, name := range inTable {
		if !slices.Contains(so, name) && name != "X-Lti-Dropped" {
			t.Errorf("%s is explained, and never sent", name)
		}
	}
}

func TestReferenceHasEveryPlaceholder(t *testing.T) {
	var known []string
	for name := range placeholders {
		known = append(known, "http.lti."+name)
	}
	for _, name := range []string{"id", "name", "email"} {
		known = append(known, "http.auth.user."+name)
	}
	known = append(known, "http.lti.custom.NAME", "http.lti.error.code")
	for where, doc := range map[string]string{reference: readFile(t, reference), "the comment of Handler": typeComment(t, "Handler")} {
		_, table, _ := strings.Cut(doc, "\n## Placeholders\n")
		if table == "" {
			table = doc
		}
		var listed []string
		for row := range strings.SplitSeq(table, "\n") {
			cells := strings.Split(strings.TrimPrefix(row, "| "), " | ")
			if len(cells) < 2 || !strings.HasPrefix(cells[0], "`{http.") {
				continue
			}
			// `{http.lti.context.id}`, `.label`: in godoc the rest may be short.
			var last string
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[0], -1) {
				name := strings.Trim(m[1], "{}")
				if strings.HasPrefix(name, ".") {
					name = last[:strings.LastIndexByte(last, '.')] + name
				}
				last = name
				listed = append(listed, name)
			}
		}
		for _, name := range known {
			if !slices.Contains(listed, name) && !(name == "http.lti.error.code" && where != reference) {
				t.Errorf("%s lacks {%s}", where, name)
			}
		}
		for _, name := range listed {
			if !slices.Contains(known, name) {
				t.Errorf("%s has {%s}, which is none", where, name)
			}
		}
	}
}

func typeComment(t *testing.T, name string) string {
	t.Helper()
	for _, f := range parseSources(t, ".") {
		for _, decl := range f.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range gen.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok && ts.Name.Name == name {
					return gen.Doc.Text()
				}
			}
		}
	}
	t.Fatalf("no type %s", name)
	return ""
}

// docs/errors.md has one row for each code, and it says what the code says.
func TestErrorsDocument(t *testing.T) {
	pages, err := page.New()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(readFile(t, "../docs/errors.md"), "\n")
	const columns = "| code | status | what happened | what the person sees | what to do | who | specification |"
	if !slices.Contains(lines, columns) {
		t.Fatalf("no table with the columns %s", columns)
	}
	seen := make(map[lti.Code]bool)
	for _, line := range lines {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 7 {
			t.Errorf("%d cells: %s", len(cells), line)
			continue
		}
		code := lti.Code(strings.Trim(cells[0], "`"))
		rule, ok := lti.Codes()[code]
		if !ok || seen[code] {
			t.Errorf("%s: no such code, or there twice", code)
			continue
		}
		seen[code] = true
		if cells[1] != fmt.Sprint(rule.Status) {
			t.Errorf("%s: status %s, it is %d", code, cells[1], rule.Status)
		}
		title := pages.English().Title(string(code))
		if title == "" {
			title = pages.English().Title("failed")
		}
		if !strings.Contains(cells[3], title) {
			t.Errorf("%s: the person sees %q, it is %q", code, cells[3], title)
		}
		who, _, _ := strings.Cut(string(rule.Mender), ":")
		if got, _, _ := strings.Cut(cells[5], ":"); got != who {
			t.Errorf("%s: mended by %q, it is %q", code, got, who)
		}
		if want := rule.Section; cells[6] != want && !(want == "" && cells[6] == "–") {
			t.Errorf("%s: section %q, it is %q", code, cells[6], want)
		}
		if cells[2] == "" || cells[4] == "" {
			t.Errorf("%s: an empty cell", code)
		}
	}
	for code := range lti.Codes() {
		if !seen[code] {
			t.Errorf("%s is missing", code)
		}
	}
}

// documents are the Markdown files that people read.
func documents(t *testing.T) []string {
	t.Helper()
	names := []string{"../README.md", "../xcaddy.md"}
	for _, pattern := range []string{"../docs/*.md", "../docs/*/*.md"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, more...)
	}
	return names
}

// Every Caddyfile that the documentation shows is one to copy: complete,
// formatted, and valid.
func TestDocumentedCaddyfiles(t *testing.T) {
	t.Setenv("LTI_KEY", "0123456789abcdefghijkl")
	t.Setenv("REDIS_PASSWORD", "s3cret")
	t.Setenv("LTI_CLIENT_ID", "tool")
	t.Setenv("LTI_INVITE", "c0ffee0123456789abcdef0123456789")
	found := 0
	for _, name := range documents(t) {
		lines := strings.Split(readFile(t, name), "\n")
		for i := 0; i < len(lines); i++ {
			if strings.TrimSpace(lines[i]) != "```caddyfile" {
				continue
			}
			begin := i + 1
			for i = begin; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
			}
			found++
			source := strings.Join(lines[begin:i], "\n") + "\n"
			t.Run(fmt.Sprintf("%s:%d", strings.TrimPrefix(name, "../"), begin+1), func(t *testing.T) {
				if formatted := string(caddyfile.Format([]byte(source))); formatted != source {
					t.Errorf("not formatted; caddy fmt makes of it:\n%s", formatted)
				}
				out, _, err := adaptCaddyfile(withFolders(source))
				if err != nil {
					t.Fatal(err)
				}
				if err := validateJSON(t, out); err != nil {
					t.Error(err)
				}
			})
		}
	}
	if found < 10 {
		t.Errorf("%d Caddyfiles: are they still marked?", found)
	}
}

// Links within the documentation lead somewhere.
func TestDocumentedLinks(t *testing.T) {
	anchors := func(name string) []string {
		var found []string
		for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(readFile(t, name), -1) {
			anchor := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
			found = append(found, regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(anchor, ""))
		}
		return found
	}
	for _, name := range documents(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)]*)\)`).FindAllStringSubmatch(readFile(t, name), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			to := name
			if file != "" {
				to = filepath.Join(filepath.Dir(name), file)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			} else if anchor != "" && !slices.Contains(anchors(to), anchor) {
				t.Errorf("%s links to %s, which has no such heading", name, m[1])
			}
		}
	}
}

// Caddy's website makes its module documentation of these comments.
func TestEveryOptionHasADocComment(t *testing.T) {
	fields := 0
	for _, dir := range []string{".", "../devlms"} {
		for _, f := range parseSources(t, dir) {
			ast.Inspect(f, func(n ast.Node) bool {
				ts, ok := n.(*ast.TypeSpec)
				if !ok {
					return true
				}
				st, ok := ts.Type.(*ast.StructType)
				if !ok || !ts.Name.IsExported() {
					return false
				}
				for _, field := range st.Fields.List {
					if field.Tag == nil || len(field.Names) == 0 || !field.Names[0].IsExported() {
						continue
					}
					raw, err := strconv.Unquote(field.Tag.Value)
					if err != nil {
						t.Fatal(err)
					}
					if tag := reflect.StructTag(raw).Get("json"); tag == "" || tag == "-" {
						continue
					}
					fields++
					where := dir + " " + ts.Name.Name + "." + field.Names[0].Name
					switch doc := field.Doc.Text(); {
					case doc == "":
						t.Errorf("%s has no comment", where)
					case !regexp.MustCompile(`\bDefault\b|\b[Rr]equired\b`).MatchString(doc):
						t.Errorf("%s: the comment says neither Default nor Required", where)
					}
				}
				return false
			})
		}
	}
	if fields < 30 {
		t.Errorf("only %d fields found", fields)
	}
	for _, name := range []string{"Handler", "App", "Matcher", "BoltStore", "MemoryStore", "RedisStore"} {
		if doc := typeComment(t, name); !strings.HasPrefix(doc, name+" ") {
			t.Errorf("the comment of %s begins with %q", name, strings.SplitN(doc, "\n", 2)[0])
		}
	}
}

// The routes of the reference exist, and none of them answers DELETE.
func TestRoutesAreDocumented(t *testing.T) {
	doc := readFile(t, reference)
	pages, err := page.New()
	if err != nil {
		t.Fatal(err)
	}
	peers, err := parsePrefixes([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	h := &Handler{Base: "/lti", pages: pages, logger: zap.NewNop(), peers: peers, needs: needs{extras: true}, API: new(API), Grade: &Grade{Browser: "on"}, Items: new(Items), Registration: new(Registration)}
	for _, route := range []string{"/lti/", "/lti/config.json", "/lti/login", "/lti/launch", "/lti/jwks.json", "/lti/logout", "/lti/auth", "/lti/frame.js", "/lti/return", "/lti/score", "/lti/pick", "/lti/deeplink", "/lti/grades", "/lti/register"} {
		if !strings.Contains(doc, "| `"+route+"`") {
			t.Errorf("%s is not documented", route)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `/lti(/[a-z.]*)`").FindAllStringSubmatch(doc, -1) {
		rec := httptest.NewRecorder()
		if err := h.serveRoute(rec, httptest.NewRequest(http.MethodDelete, "/lti"+m[1], nil), m[1]); err != nil {
			t.Fatal(err)
		}
		if rec.Code != http.StatusMethodNotAllowed {
			t.Errorf("DELETE /lti%s: %d: is there such a route?", m[1], rec.Code)
		}
		if got := rec.Header().Get("Allow"); got == "" {
			t.Errorf("/lti%s: no Allow", m[1])
		}
	}
}
