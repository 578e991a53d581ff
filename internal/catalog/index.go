package catalog

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxQuery = 200 // runes
	maxWords = 12
)

// record is an item and what it is searched by. It does not change.
type record struct {
	Item
	// folded is title, path and text, folded, each with a NUL behind it, which
	// no word has.
	folded string
	pathAt int // where the path begins in folded
	textAt int // where the text begins
}

func newRecord(it Item) *record {
	title, at := fold(it.Title), fold(decoded(it.Path))
	r := &record{Item: it, pathAt: len(title) + 1, textAt: len(title) + len(at) + 2}
	r.folded = title + "\x00" + at + "\x00" + fold(it.Text) + "\x00"
	return r
}

// size is about what it takes in memory.
func (r *record) size() int {
	return 200 + len(r.Path) + len(r.Title) + len(r.Text) + len(r.Image) + len(r.folded)
}

// index is the whole catalogue at one time. It does not change.
type index struct {
	records []*record // by title
	byID    []*record
}

// newIndex puts sources together. Of two items with one path or identity in
// different sources the first stays.
func newIndex(parts [][]*record) *index {
	x := new(index)
	paths, ids := map[string]bool{}, map[string]bool{}
	for i, part := range parts {
		for _, r := range part {
			if !paths[r.Path] && !ids[r.ID] {
				x.records = append(x.records, r)
			}
		}
		if i == len(parts)-1 {
			break
		}
		for _, r := range part {
			paths[r.Path], ids[r.ID] = true, true
		}
	}
	slices.SortFunc(x.records, func(a, b *record) int {
		return cmp.Or(natural(a.folded[:a.pathAt], b.folded[:b.pathAt]), natural(a.Path, b.Path), cmp.Compare(a.ID, b.ID))
	})
	x.byID = slices.Clone(x.records)
	slices.SortFunc(x.byID, func(a, b *record) int { return cmp.Compare(a.ID, b.ID) })
	return x
}

func (x *index) find(id string) *record {
	i := sort.Search(len(x.byID), func(i int) bool { return x.byID[i].ID >= id })
	if i == len(x.byID) || x.byID[i].ID != id {
		return nil
	}
	return x.byID[i]
}

// search returns a part of what matches, and how much does.
func (x *index) search(query string, offset, limit int) (items []Item, total int) {
	words := strings.Fields(fold(cut(query, maxQuery)))
	words = words[:min(len(words), maxWords)]
	tiers := [][]*record{x.records}
	if len(words) > 0 {
		whole := strings.Join(words, " ")
		tiers = make([][]*record, worst*len(words)+2)
		for _, r := range x.records {
			if rank, ok := r.rank(words, whole); ok {
				tiers[rank] = append(tiers[rank], r)
			}
		}
	}
	for _, tier := range tiers {
		total += len(tier)
		skip := min(offset, len(tier))
		offset -= skip
		for _, r := range tier[skip:] {
			if len(items) == limit {
				break
			}
			items = append(items, r.Item)
		}
	}
	return items, total
}

// Where a word is found, best first.
const (
	titleStart = iota // at the start of the title
	titleWord         // at the start of a word of it
	titleIn
	pathIn
	textIn
	worst = textIn
)

// rank reports whether all words occur, and how well: the sum of where, and 0
// for the title itself.
func (r *record) rank(words []string, whole string) (int, bool) {
	sum := 1
	for _, w := range words {
		at := strings.Index(r.folded, w)
		if at < 0 {
			return 0, false
		}
		sum += r.place(w, at)
	}
	if r.folded[:r.pathAt-1] == whole {
		return 0, true
	}
	return sum, true
}

// place says where a word occurs first. Titles stand before paths, and paths
// before texts, so that only the titles need a second look.
func (r *record) place(w string, at int) int {
	switch {
	case at == 0:
		return titleStart
	case at >= r.textAt:
		return textIn
	case at >= r.pathAt:
		return pathIn
	}
	for {
		before, _ := utf8.DecodeLastRuneInString(r.folded[:at])
		if !unicode.IsLetter(before) && !unicode.IsNumber(before) {
			return titleWord
		}
		next := strings.Index(r.folded[at+1:r.pathAt], w)
		if next < 0 {
			return titleIn
		}
		at += 1 + next
	}
}
