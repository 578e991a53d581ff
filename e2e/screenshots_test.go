package e2e

import (
	"bytes"
	"cmp"
	"context"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/caddy-lti/lti/internal/page"
)

// screens are the ways in which a page is pictured, side by side.
var screens = []struct {
	scheme        string
	width, height int64
	mobile        bool
}{
	{"light", 960, 640, false}, {"dark", 960, 640, false}, {"light", 390, 640, true}, {"dark", 390, 640, true},
}

// maxScreen is how much of a long page is pictured.
const maxScreen = 1100

// gap is between the pictures of a sheet.
const gap = 16

// pictured takes the pictures of what a tab shows, on one sheet, and fails where
// something does not fit on a phone, or touches what stands above it.
func pictured(ctx context.Context, tb testing.TB, name string) {
	tb.Helper()
	var shots []image.Image
	for _, s := range screens {
		opts := []chromedp.EmulateViewportOption{}
		if s.mobile {
			opts = append(opts, chromedp.EmulateMobile)
		}
		run(ctx, tb, scheme(s.scheme), chromedp.EmulateViewport(s.width, s.height, opts...))
		wide, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(() => {
			const width = document.documentElement.clientWidth;
			return document.documentElement.scrollWidth <= width ? "" : [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > width + 1).slice(0, 3).map(e => e.outerHTML.slice(0, 200)).join("\n");
		})()`))
		if err != nil {
			tb.Fatal(err)
		}
		if wide != "" {
			tb.Errorf("%s is wider than a screen of %d:\n%s", name, s.width, wide)
		}
		tight, err := chromedp.Run(ctx, chromedp.Evaluate[string](`[...document.querySelectorAll("main > p")].filter(p => p.previousElementSibling?.offsetHeight && p.getBoundingClientRect().top < p.previousElementSibling.getBoundingClientRect().bottom + 7).map(p => p.outerHTML.slice(0, 200)).join("\n")`))
		if err != nil {
			tb.Fatal(err)
		}
		if tight != "" {
			tb.Errorf("on %s, something touches what stands above it:\n%s", name, tight)
		}
		high, err := chromedp.Run(ctx, chromedp.Evaluate[float64](`document.documentElement.scrollHeight`))
		if err != nil {
			tb.Fatal(err)
		}
		data, err := chromedp.Run(ctx, func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
			if _, err := cdp.Call(ctx, t, cdppage.BringToFront, cdp.Empty{}); err != nil {
				return nil, err
			}
			beyond := true
			res, err := cdp.Call(ctx, t, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{
				CaptureBeyondViewport: &beyond,
				Clip:                  &cdppage.Viewport{Width: float64(s.width), Height: min(max(high, float64(s.height)), maxScreen), Scale: 1},
			})
			if err != nil {
				return nil, err
			}
			return res.Data, nil
		})
		if err != nil {
			tb.Fatalf("taking the picture %s: %v", name, err)
		}
		shot, err := png.Decode(bytes.NewReader(data))
		if err != nil {
			tb.Fatal(err)
		}
		shots = append(shots, shot)
	}
	run(ctx, tb, scheme("light"), chromedp.ResetViewport())
	var buf bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&buf, fewColours(sheet(shots))); err != nil {
		tb.Fatal(err)
	}
	keep(tb, filepath.Join("screenshots", name), buf.Bytes())
}

// sheet puts pictures side by side.
func sheet(shots []image.Image) *image.RGBA {
	at, high := gap, 0
	for _, s := range shots {
		at += s.Bounds().Dx() + gap
		high = max(high, s.Bounds().Dy())
	}
	out := image.NewRGBA(image.Rect(0, 0, at, high+2*gap))
	draw.Draw(out, out.Bounds(), image.NewUniform(color.RGBA{0x80, 0x88, 0x90, 0xff}), image.Point{}, draw.Src)
	at = gap
	for _, s := range shots {
		b := s.Bounds()
		draw.Draw(out, image.Rect(at, gap, at+b.Dx(), gap+b.Dy()), s, b.Min, draw.Src)
		at += b.Dx() + gap
	}
	return out
}

// fewColours keeps the 256 colours that a picture has most of, and takes the nearest
// of them for the others: pictures of pages become a third as large.
func fewColours(img *image.RGBA) *image.Paletted {
	count := make(map[color.RGBA]int)
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			count[img.RGBAAt(x, y)]++
		}
	}
	most := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range most[:min(256, len(most))] {
		palette = append(palette, c)
	}
	nearest := make(map[color.RGBA]uint8, len(count))
	for c := range count {
		nearest[c] = uint8(palette.Index(c)) //nolint:gosec // below 256
	}
	out := image.NewPaletted(b, palette)
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			out.SetColorIndex(x, y, nearest[img.RGBAAt(x, y)])
		}
	}
	return out
}

// Pages fit on phones, and "make screenshots" puts these pictures of them into
// docs/screenshots, where the index has them all.
func TestScreenshots(t *testing.T) {
	names := []string{}
	take := func(ctx context.Context, name string) {
		t.Helper()
		names = append(names, name)
		pictured(ctx, t, name)
	}
	var ctx context.Context
	for _, of := range []struct {
		lang string
		ids  []string
	}{
		{"en", []string{"session_missing", "new_window", "failed", "role_refused", "deep_link_refused", "picker"}},
		{"en", []string{"grades", "index", "registered_pending", "registration_dry_run", "inspection_failed", "signed_out"}},
		{"ar", []string{"session_missing", "picker", "grades"}},
		{"de", []string{"new_window"}},
	} {
		ctx = newChrome(t)
		all, _ := gatewayPages(t, of.lang)
		for _, id := range of.ids {
			i := slices.IndexFunc(all, func(p looked) bool { return p.name == id })
			if i < 0 {
				t.Fatalf("there is no page %s", id)
			}
			run(ctx, t, chromedp.Navigate(all[i].url))
			if id == "index" {
				run(ctx, t, chromedp.Click(chromedp.CSS(`details.lms summary`)))
			}
			name := "gateway-" + strings.ReplaceAll(id, "_", "-")
			if of.lang != "en" {
				name += "-" + of.lang
			}
			take(ctx, name)
		}
	}
	own, err := page.Load("../examples/pages")
	if err != nil {
		t.Fatal(err)
	}
	all, _ := servePages(t, own.In("nl", nil))
	run(ctx, t, chromedp.Navigate(all[slices.IndexFunc(all, func(p looked) bool { return p.name == "session_missing" })].url))
	take(ctx, "gateway-own-pages")

	lms, site, _ := startDemo(t)
	ctx = newChrome(t)
	be(ctx, t, lms, "Zoë")
	take(ctx, "lms-home")
	run(ctx, t, chromedp.Navigate(lms+"/course/c-31"))
	take(ctx, "lms-course")
	run(ctx, t, chromedp.Click(`//h3/a[contains(., "Quiz")]`), chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)))
	quiz := frame(ctx, t, site+"/quiz.html")
	handIn(quiz, t, "Two", "Tides", "None")
	run(quiz, t, chromedp.WaitVisible(`//p[@id="result"][contains(., "gradebook")]`))
	take(ctx, "lms-activity")
	be(ctx, t, lms, "Ada")
	run(ctx, t, chromedp.Navigate(lms+"/course/c-31/gradebook"), chromedp.WaitVisible(`//tr[contains(., "Zoë")]//td[contains(., "66.67 / 100")]`))
	take(ctx, "lms-gradebook")
	run(ctx, t, chromedp.Navigate(lms+"/course/c-31/roster"))
	take(ctx, "lms-roster")
	run(ctx, t, chromedp.Navigate(lms+"/course/c-31"), chromedp.Click(`//a[contains(., "Add content from Static course site")]`), chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)))
	run(frame(ctx, t, site+"/lti/pick?lti_launch_id=*"), t, chromedp.WaitVisible(`//h2[text()="Chapter 2: Moons"]`))
	take(ctx, "lms-add-content")
	run(ctx, t, chromedp.Navigate(lms+"/inspect"))
	take(ctx, "lms-messages")
	run(ctx, t, chromedp.Click(`//ol[@class="messages"]//a[text()="Authentication response"]`), chromedp.WaitVisible(`//h2[contains(., "id_token")]`))
	take(ctx, "lms-message")
	run(ctx, t, chromedp.Navigate(lms+"/lab"))
	take(ctx, "lms-laboratory")
	playPayloads(ctx, t, lms)
	take(ctx, "lms-laboratory-result")
	run(ctx, t, chromedp.Click(`//td/a`), chromedp.WaitVisible(chromedp.CSS(`.steps`)))
	take(ctx, "lms-laboratory-case")
	be(ctx, t, lms, "Imani")
	run(ctx, t, chromedp.Navigate(lms+"/admin/tools"))
	take(ctx, "lms-tools")

	index, err := os.ReadFile("../docs/screenshots/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range regexp.MustCompile(`\]\(([a-z-]+)\.png\)`).FindAllStringSubmatch(string(index), -1) {
		listed = append(listed, m[1])
	}
	slices.Sort(listed)
	slices.Sort(names)
	if !slices.Equal(listed, names) {
		t.Errorf("docs/screenshots/README.md lists %v, the pictures are %v", listed, names)
	}
}
