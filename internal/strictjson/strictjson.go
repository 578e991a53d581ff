// Package strictjson reads one JSON object without the two liberties of
// encoding/json that matter where a signature is at stake: a member name that
// occurs twice is an error (RFC 7515 §4 and RFC 7519 §4 let a reader choose to
// refuse it), and names are compared exactly, never by folded case.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ErrDuplicate is returned for an object that has the same member twice.
var ErrDuplicate = errors.New("duplicate member")

// Object decodes data, which must be exactly one JSON object, into its members.
// The values are not interpreted; nested objects are not searched for
// duplicates.
func Object(data []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	tok, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("reading JSON: %w", noEOF(err))
	}
	if tok != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	obj := make(map[string]json.RawMessage, 24)
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("reading JSON: %w", noEOF(err))
		}
		name, _ := tok.(string) // the decoder allows nothing else here
		if _, ok := obj[name]; ok {
			return nil, fmt.Errorf("%w %q", ErrDuplicate, clip(name))
		}
		var val json.RawMessage
		if err := dec.Decode(&val); err != nil {
			return nil, fmt.Errorf("reading JSON: %w", noEOF(err))
		}
		obj[name] = val
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("reading JSON: %w", noEOF(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data after the JSON object")
	}
	return obj, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80]
	}
	return s
}
