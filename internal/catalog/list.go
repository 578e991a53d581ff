package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/caddy-lti/lti/internal/strictjson"
)

// MaxList is how many bytes a list has at most.
const MaxList = 8 << 20

// list reads a JSON document.
type list struct {
	fetch func(context.Context) ([]byte, error)
	site  *site

	sum [sha256.Size]byte // of the last one that was good
}

// File returns what fetches a list from a file.
func File(name string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, MaxList+1)) // one more shows that it is too long
	}
}

func (l *list) load(ctx context.Context) (reading, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	data, err := l.fetch(ctx)
	if err != nil {
		return reading{}, err
	}
	sum := sha256.Sum256(data)
	if sum == l.sum {
		return reading{}, nil
	}
	items, err := parseList(data, l.site)
	if err != nil {
		return reading{}, err
	}
	got := reading{changed: true, records: make([]*record, len(items))}
	for i, it := range items {
		got.records[i] = newRecord(it)
	}
	l.sum = sum
	return got, nil
}

// parseList reads a list. Its errors name the item, counted from 0, and the
// member.
func parseList(data []byte, s *site) ([]Item, error) {
	if len(data) > MaxList {
		return nil, fmt.Errorf("more than %d MiB", MaxList>>20)
	}
	if data = bytes.TrimSpace(data); len(data) > 0 && data[0] == '{' {
		obj, err := strictjson.Object(data)
		if err != nil {
			return nil, err
		}
		for name := range obj {
			if name != "items" {
				return nil, fmt.Errorf("unknown member %.80q: expected items", name)
			}
		}
		data = obj["items"]
	}
	if len(data) == 0 || data[0] != '[' {
		return nil, errors.New(`expected a JSON array of items, or {"items": [...]}`)
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("reading JSON: %w", err)
	}
	if len(raw) > MaxItems {
		return nil, fmt.Errorf("more than %d items", MaxItems)
	}
	items := make([]Item, 0, len(raw))
	seen := make(map[string]int, len(raw))
	for i, r := range raw {
		it, err := parseItem(r, s)
		if err != nil {
			return nil, fmt.Errorf("items[%d]: %w", i, err)
		}
		if j, ok := seen[it.ID]; ok {
			return nil, fmt.Errorf("items[%d]: has the same identity as items[%d]: give each a resource_id of its own", i, j)
		}
		seen[it.ID] = i
		items = append(items, it)
	}
	return items, nil
}

func parseItem(data []byte, s *site) (Item, error) {
	obj, err := strictjson.Object(data)
	if err != nil {
		return Item{}, err
	}
	var it Item
	if obj["path"] != nil && obj["url"] != nil {
		return Item{}, errors.New("url: path says it already")
	}
	for name, value := range obj {
		if err := it.set(name, value); err != nil {
			return Item{}, fmt.Errorf("%.80s: %w", name, err)
		}
	}
	if err := s.check(&it); err != nil {
		return Item{}, err
	}
	if it.Title == "" {
		return Item{}, errors.New("title: missing")
	}
	return it, nil
}

// set takes a member. Null is as good as none.
func (it *Item) set(name string, value json.RawMessage) error {
	text := func(into *string) error {
		if json.Unmarshal(value, into) != nil {
			return errors.New("expected a string")
		}
		return nil
	}
	switch name {
	case "path", "url":
		return text(&it.Path)
	case "title":
		return text(&it.Title)
	case "text":
		return text(&it.Text)
	case "image":
		return text(&it.Image)
	case "resource_id":
		return text(&it.ResourceID)
	case "tag":
		return text(&it.Tag)
	case "score_maximum":
		var score *float64
		if json.Unmarshal(value, &score) != nil || (score != nil && !validScore(*score)) {
			return fmt.Errorf("expected a number above 0, up to %d", int(maxScore))
		}
		if score != nil {
			it.ScoreMaximum = *score
		}
		return nil
	case "custom":
		return it.setCustom(value)
	default:
		return errors.New("unknown member")
	}
}

// setCustom takes custom parameters: strings, and null is none (Deep Linking
// 2.0, custom).
func (it *Item) setCustom(value json.RawMessage) error {
	if string(value) == "null" {
		return nil
	}
	obj, err := strictjson.Object(value)
	if err != nil {
		return err
	}
	it.Custom = make(map[string]string, len(obj))
	for name, raw := range obj {
		var v *string
		if json.Unmarshal(raw, &v) != nil || v == nil {
			return fmt.Errorf("%.80s: expected a string", name)
		}
		it.Custom[name] = *v
	}
	return nil
}
