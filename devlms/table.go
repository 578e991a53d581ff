package devlms

import "container/list"

// table is a map that never holds more than max entries: a new one drops the
// oldest. What strangers can fill has to be bounded. It is not safe for
// concurrent use.
type table[K comparable, V any] struct {
	max     int
	entries map[K]*list.Element
	order   *list.List // of entry[K, V], oldest in front
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func newTable[K comparable, V any](limit int) *table[K, V] {
	return &table[K, V]{
		max:     limit,
		entries: make(map[K]*list.Element),
		order:   list.New(),
	}
}

// add stores a value, and reports false, storing nothing, if there is one under
// this key.
func (t *table[K, V]) add(key K, value V) bool {
	if _, ok := t.entries[key]; ok {
		return false
	}
	for len(t.entries) >= t.max {
		t.remove(t.order.Front())
	}
	t.entries[key] = t.order.PushBack(entry[K, V]{key, value})
	return true
}

// get returns a value and leaves it there.
func (t *table[K, V]) get(key K) (V, bool) {
	el, ok := t.entries[key]
	if !ok {
		var zero V
		return zero, false
	}
	return el.Value.(entry[K, V]).value, true
}

// take returns a value and removes it.
func (t *table[K, V]) take(key K) (V, bool) {
	el, ok := t.entries[key]
	if !ok {
		var zero V
		return zero, false
	}
	t.remove(el)
	return el.Value.(entry[K, V]).value, true
}

func (t *table[K, V]) remove(el *list.Element) {
	delete(t.entries, el.Value.(entry[K, V]).key)
	t.order.Remove(el)
}
