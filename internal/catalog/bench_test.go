package catalog

import (
	"context"
	"fmt"
	"runtime"
	"testing"
)

const benchPages = 20_000

// benchSite writes pages of an ordinary size, 12 KiB, in folders of 100.
func benchSite(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	body := make([]byte, 12<<10)
	for i := range body {
		body[i] = "<p>Some text of a page. "[i%24]
	}
	for i := range benchPages {
		write(b, dir, fmt.Sprintf("chapter-%d/page-%d.html", i/100, i), fmt.Sprintf(`<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/style.css"><title>Lesson %d: Éléments of chapter %d</title>
<meta name="description" content="What every learner of chapter %d should know about lesson %d, with exercises and a quiz at the end of it.">
<meta property="og:image" content="../img/%d.png"></head><body><h1>Lesson %d</h1>%s`, i, i/100, i/100, i, i, i, body), longAgo)
	}
	return dir
}

// The first reading, of files that the system has in its cache.
func BenchmarkFirstScan(b *testing.B) {
	dir := benchSite(b)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		c := open(b, Config{Folders: []Folder{{Dir: dir}}})
		if p, err := c.Search(context.Background(), "", 0, 1); err != nil || p.Whole != benchPages {
			b.Fatal(p, err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(c)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/benchPages, "B/page")
}

// A reading that finds nothing new.
func BenchmarkRescan(b *testing.B) {
	f, err := newFolder(Folder{Dir: benchSite(b)}, new(site))
	if err != nil {
		b.Fatal(err)
	}
	if got, err := f.load(context.Background()); err != nil || len(got.records) != benchPages {
		b.Fatal(len(got.records), err)
	}
	for b.Loop() {
		if got, err := f.load(context.Background()); err != nil || got.changed {
			b.Fatal("changed", err)
		}
	}
}

func BenchmarkSearch(b *testing.B) {
	items := make([]Item, benchPages)
	for i := range items {
		items[i] = Item{
			Path:  fmt.Sprintf("/chapter-%d/page-%d.html", i/100, i),
			Title: fmt.Sprintf("Lesson %d: Éléments of chapter %d", i, i/100),
			Text:  fmt.Sprintf("What every learner of chapter %d should know about lesson %d, with exercises and a quiz at the end of it.", i/100, i),
		}
	}
	c := open(b, Config{Entries: items})
	for _, query := range []string{"", "e", "elements", "lesson 777", "every learner exercises quiz", "nothing at all"} {
		b.Run(fmt.Sprintf("%q", query), func(b *testing.B) {
			for b.Loop() {
				if _, err := c.Search(context.Background(), query, 0, 50); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("index", func(b *testing.B) {
		for b.Loop() {
			newIndex(c.parts)
		}
	})
}
