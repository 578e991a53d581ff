package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// openAPI is docs/openapi.yaml.
var openAPI = sync.OnceValues(func() (map[string]any, error) {
	text, err := os.ReadFile("../docs/openapi.yaml")
	if err != nil {
		return nil, err
	}
	var doc any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	// As JSON, so that numbers are what the validator knows.
	data, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	doc, err = jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
	if err != nil {
		return nil, err
	}
	return doc.(map[string]any), nil
})

var pathID = regexp.MustCompile(`^(scores|lineitems)/[^/]+$`)

// validate holds an answer of the API against the OpenAPI file: its status is one
// of those, and its body has that shape.
func validate(tb testing.TB, method, path string, res *answer) {
	tb.Helper()
	doc, err := openAPI()
	if err != nil {
		tb.Fatal(err)
	}
	path, _, _ = strings.Cut(path, "?")
	path = pathID.ReplaceAllString(path, "$1/{id}")
	item, ok := doc["paths"].(map[string]any)["/"+path].(map[string]any)
	op, known := item[strings.ToLower(method)].(map[string]any)
	if !ok || !known {
		if res.StatusCode != 404 && res.StatusCode != 405 && res.StatusCode != 401 {
			tb.Errorf("%s %s is not in the OpenAPI file, and answers %d", method, path, res.StatusCode)
		}
		return
	}
	status := fmt.Sprint(res.StatusCode)
	answer, ok := op["responses"].(map[string]any)[status].(map[string]any)
	if !ok {
		tb.Errorf("%s %s: status %s is not in the OpenAPI file: %s", method, path, status, res.body)
		return
	}
	where := "/paths/" + strings.NewReplacer("~", "~0", "/", "~1").Replace("/"+path) + "/" + strings.ToLower(method) + "/responses/" + status
	if ref, ok := answer["$ref"].(string); ok {
		where = strings.TrimPrefix(ref, "#")
		answer = doc["components"].(map[string]any)["responses"].(map[string]any)[where[strings.LastIndexByte(where, '/')+1:]].(map[string]any)
	}
	content, ok := answer["content"].(map[string]any)
	if !ok {
		if res.body != "" {
			tb.Errorf("%s %s: a body where the OpenAPI file has none: %s", method, path, res.body)
		}
		return
	}
	mediaType := res.Header.Get("Content-Type")
	if _, ok := content[mediaType]; !ok {
		tb.Errorf("%s %s: Content-Type %s is not in the OpenAPI file", method, path, mediaType)
		return
	}
	if !strings.Contains(mediaType, "json") {
		return
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err := compiler.AddResource("openapi.json", doc); err != nil {
		tb.Fatal(err)
	}
	schema, err := compiler.Compile("openapi.json#" + where + "/content/" + strings.ReplaceAll(mediaType, "/", "~1") + "/schema")
	if err != nil {
		tb.Fatal(err)
	}
	docs := []string{res.body}
	if mediaType == "application/x-ndjson" {
		docs = strings.Split(strings.TrimSuffix(res.body, "\n"), "\n")
	}
	for _, doc := range docs {
		body, err := jsonschema.UnmarshalJSON(strings.NewReader(doc))
		if err != nil {
			tb.Errorf("%s %s: %v in %s", method, path, err, doc)
			return
		}
		if err := schema.Validate(body); err != nil {
			tb.Errorf("%s %s: %s is not as the OpenAPI file says: %v", method, path, doc, err)
		}
	}
}
