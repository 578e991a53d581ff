package lti

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// vocabulary is what testdata/core.txt says.
type vocabulary struct {
	claims   map[string]string // name → claim, service or vendor
	messages map[string]bool
	roles    map[string]string // URI → short form
}

func readVocabulary(t *testing.T) vocabulary {
	t.Helper()
	data, err := os.ReadFile("testdata/core.txt")
	if err != nil {
		t.Fatal(err)
	}
	voc := vocabulary{map[string]string{}, map[string]bool{}, map[string]string{}}
	for i, line := range strings.Split(string(data), "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case words[0] == "role" && len(words) == 3:
			voc.roles[words[1]] = words[2]
		case words[0] == "message" && len(words) == 2:
			voc.messages[words[1]] = true
		case words[0] == "claim" || words[0] == "service" || words[0] == "vendor":
			voc.claims[words[1]] = words[0]
		default:
			t.Fatalf("testdata/core.txt:%d: %q", i+1, line)
		}
	}
	return voc
}

// constants returns the string constants of this package.
func constants(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.CONST {
				continue
			}
			for _, spec := range gen.Specs {
				vs := spec.(*ast.ValueSpec)
				for i, name := range vs.Names {
					if i >= len(vs.Values) {
						continue
					}
					if lit, ok := vs.Values[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
						if found[name.Name], err = strconv.Unquote(lit.Value); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
	}
	return found
}

func TestConstantsAreThoseOfTheSpecification(t *testing.T) {
	voc := readVocabulary(t)
	claims, messages := 0, 0
	for name, val := range constants(t) {
		switch {
		case strings.HasPrefix(name, "claim"):
			claims++
			if voc.claims[val] == "" {
				t.Errorf("%s = %q: no such claim in testdata/core.txt", name, val)
			}
		case strings.HasPrefix(name, "Message"):
			messages++
			if !voc.messages[val] {
				t.Errorf("%s = %q: no such message type in testdata/core.txt", name, val)
			}
		case strings.HasPrefix(val, "https://purl.imsglobal.org/"), strings.HasPrefix(val, "Lti"):
			t.Errorf("%s = %q: name constants of claims claim…, of message types Message…, so that this test finds them", name, val)
		}
	}
	if claims < 12 || messages < 2 {
		t.Errorf("found %d claims and %d message types: does the test still find the constants?", claims, messages)
	}
	// What a resource link launch must have.
	for name, got := range map[string]string{
		"message_type": claimMessageType, "version": claimVersion, "deployment_id": claimDeploymentID,
		"target_link_uri": claimTargetLinkURI, "resource_link": claimResourceLink, "roles": claimRoles,
		"context": claimContext, "tool_platform": claimToolPlatform, "launch_presentation": claimPresentation,
		"lis": claimLIS, "custom": claimCustom, "ext": claimExt,
	} {
		if want := "https://purl.imsglobal.org/spec/lti/claim/" + name; got != want {
			t.Errorf("claim %s is %q, want %q", name, got, want)
		}
	}
	for want, got := range map[string]string{
		"https://purl.imsglobal.org/spec/lti-ags/claim/endpoint":             claimGrades,
		"https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice":    claimRoster,
		"https://purl.imsglobal.org/spec/lti-dl/claim/deep_linking_settings": claimDeepLinking,
	} {
		if got != want {
			t.Errorf("the claim of a service is %q, want %q", got, want)
		}
	}
	if MessageResourceLink != "LtiResourceLinkRequest" || MessageDeepLinking != "LtiDeepLinkingRequest" || Version != "1.3.0" {
		t.Errorf("got %s, %s, version %s", MessageResourceLink, MessageDeepLinking, Version)
	}
}

func TestRoleVocabularyIsThatOfTheSpecification(t *testing.T) {
	voc := readVocabulary(t)
	if len(voc.roles) != 81 {
		t.Errorf("testdata/core.txt has %d roles, the specification 81", len(voc.roles))
	}
	for uri, short := range voc.roles {
		if got, ok := ShortRole(uri); !ok || got != short {
			t.Errorf("ShortRole(%s) = %q, %v; want %q", uri, got, ok, short)
		}
	}
	for uri := range shortByURI {
		if _, ok := voc.roles[uri]; !ok {
			t.Errorf("%s is not in testdata/core.txt", uri)
		}
	}
}
