package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// chromium is a running Chromium; it is an engine.
type chromium struct {
	ctx   context.Context // of the first tab
	first target.ID
	tabs  map[target.ID]*chromiumTab // attached: tabs, and frames of other sites than their page's

	mu      sync.Mutex
	created []target.ID // in the order in which they came
}

// chromiumTab is one of the browser's targets: documents that share a process.
type chromiumTab struct {
	ctx context.Context

	mu     sync.Mutex
	worlds map[cdp.FrameID]string // where the scripts of a frame's document run
}

// newChromium starts a Chromium with a fresh profile.
func newChromium(tb testing.TB, cookies cookieSetting) *chromium {
	tb.Helper()
	dir := tb.TempDir()
	profile := map[string]any{}
	switch cookies {
	case cookiesDefault:
	case thirdPartyAllowed:
		profile["cookie_controls_mode"] = 0
		profile["block_third_party_cookies"] = false
	case thirdPartyBlocked:
		profile["cookie_controls_mode"] = 1
		profile["block_third_party_cookies"] = true
	case framesForbidden:
		pair := "https://" + toolHost + ",https://" + lmsHost
		profile["content_settings"] = map[string]any{"exceptions": map[string]any{"cookies": map[string]any{
			pair: map[string]any{"setting": 2},
		}}}
	case allOff:
		profile["default_content_setting_values"] = map[string]any{"cookies": 2}
	}
	prefs, err := json.Marshal(map[string]any{"profile": profile})
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "Default"), 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Default", "Preferences"), prefs, 0o600); err != nil {
		tb.Fatal(err)
	}

	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.Flag("no-sandbox", true),
		chromedp.Flag("disable-gpu", true),
		chromedp.UserDataDir(dir),
		chromedp.WindowSize(1100, 900),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-popup-blocking", false), // chromedp's default turns the popup blocker off
		chromedp.Flag("host-resolver-rules", "MAP * 127.0.0.1"),
		chromedp.Flag("ignore-certificate-errors", true),
	)
	c := &chromium{tabs: make(map[target.ID]*chromiumTab)}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	tb.Cleanup(cancel)
	tab := &chromiumTab{worlds: make(map[cdp.FrameID]string)}
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(tab.listen))
	tb.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		tb.Fatalf("starting Chromium: %v", err)
	}
	tab.ctx, c.ctx = ctx, ctx
	c.first = chromedp.FromContext(ctx).Target.TargetID
	c.tabs[c.first] = tab
	err = chromedp.ListenBrowser(ctx, func(ev any) {
		if ev, ok := ev.(*target.EventTargetCreated); ok {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.created = append(c.created, ev.TargetInfo.TargetID)
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// listen keeps track of where scripts run.
func (t *chromiumTab) listen(ev any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch ev := ev.(type) {
	case *runtime.EventExecutionContextCreated:
		var of struct {
			FrameID   cdp.FrameID
			IsDefault bool // the page's own, not one of an extension
		}
		if json.Unmarshal(ev.Context.AuxData, &of) == nil && of.IsDefault {
			t.worlds[of.FrameID] = ev.Context.UniqueID
		}
	case *runtime.EventExecutionContextDestroyed:
		for frame, world := range t.worlds {
			if world == ev.ExecutionContextUniqueID {
				delete(t.worlds, frame)
			}
		}
	case *runtime.EventExecutionContextsCleared:
		clear(t.worlds)
	}
}

// targets returns what can be debugged, the newest first.
func (c *chromium) targets() ([]*target.Info, error) {
	infos, err := chromedp.Targets(c.ctx)
	if err != nil {
		return nil, err
	}
	infos = slices.DeleteFunc(infos, func(i *target.Info) bool { return i.Type != "page" && i.Type != "iframe" || i.Subtype != "" })
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortStableFunc(infos, func(a, b *target.Info) int {
		return slices.Index(c.created, b.TargetID) - slices.Index(c.created, a.TargetID)
	})
	return infos, nil
}

// attach returns a target, ready for commands.
func (c *chromium) attach(id target.ID) (*chromiumTab, error) {
	if tab := c.tabs[id]; tab != nil {
		return tab, nil
	}
	tab := &chromiumTab{worlds: make(map[cdp.FrameID]string)}
	ctx, cancel := chromedp.NewContext(c.ctx, chromedp.WithTargetID(id), chromedp.WithDetachOnCancel(), chromedp.WithListener(tab.listen))
	if err := chromedp.Do(ctx); err != nil {
		cancel()
		return nil, err
	}
	tab.ctx = ctx // it ends with that of the browser
	c.tabs[id] = tab
	return tab, nil
}

func (c *chromium) places(ctx context.Context) ([]place, error) {
	infos, err := c.targets()
	if err != nil {
		return nil, err
	}
	var places []place
	for _, info := range infos {
		of, err := c.documents(ctx, info.TargetID)
		if err != nil {
			if ctx.Err() != nil || c.ctx.Err() != nil {
				return nil, err
			}
			continue // closed meanwhile
		}
		places = append(places, of...)
	}
	return places, nil
}

// documents returns those of one target, inner frames first.
func (c *chromium) documents(ctx context.Context, id target.ID) ([]place, error) {
	tab, err := c.attach(id)
	if err != nil {
		return nil, err
	}
	// Noted before the addresses: a document that leaves meanwhile takes its
	// world along, so that no script runs in its successor.
	tab.mu.Lock()
	worlds := maps.Clone(tab.worlds)
	tab.mu.Unlock()
	tree, err := cdp.Call(ctx, chromedp.FromContext(tab.ctx).Target, page.GetFrameTree, cdp.Empty{})
	if err != nil {
		delete(c.tabs, id) // should it be there after all, it is attached anew
		return nil, err
	}
	var places []place
	var walk func(*page.FrameTree)
	walk = func(t *page.FrameTree) {
		places = append(places, place{url: t.Frame.URL + t.Frame.URLFragment, tab: string(id), world: worlds[t.Frame.ID]})
		for _, child := range t.ChildFrames {
			walk(child)
		}
	}
	walk(tree.FrameTree)
	slices.Reverse(places)
	return places, nil
}

func (c *chromium) eval(ctx context.Context, p place, js string, clicked bool) (string, error) {
	await := true
	res, err := cdp.Call(ctx, chromedp.FromContext(c.tabs[target.ID(p.tab)].ctx).Target, runtime.Evaluate, runtime.EvaluateParams{
		Expression: js, UniqueContextID: p.world, UserGesture: &clicked, AwaitPromise: &await,
	})
	switch {
	case err != nil:
		return "", err
	case res.ExceptionDetails != nil:
		return "", scriptError((&chromedp.ExceptionError{ExceptionDetails: res.ExceptionDetails}).Error())
	}
	kind := string(res.Result.Type)
	if kind == "object" && res.Result.Subtype == "null" {
		kind = "null"
	}
	return scriptResult(kind, json.RawMessage(res.Result.Value))
}

func (c *chromium) navigate(ctx context.Context, url string) error {
	res, err := cdp.Call(ctx, chromedp.FromContext(c.ctx).Target, page.Navigate, page.NavigateParams{URL: url})
	if err == nil && res.ErrorText != "" {
		err = errors.New(res.ErrorText)
	}
	return err
}

func (c *chromium) activate(_ context.Context, tab string) error {
	_, err := chromedp.CallBrowser(c.ctx, target.ActivateTarget, target.ActivateTargetParams{TargetID: target.ID(tab)})
	return err
}

func (c *chromium) closeWindows(ctx context.Context) error {
	for {
		infos, err := c.targets()
		if err != nil {
			return err
		}
		infos = slices.DeleteFunc(infos, func(i *target.Info) bool { return i.Type != "page" || i.TargetID == c.first })
		if len(infos) == 0 {
			return nil
		}
		for _, info := range infos {
			_, _ = chromedp.CallBrowser(c.ctx, target.CloseTarget, target.CloseTargetParams{TargetID: info.TargetID}) // may be closing
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond): // polling: they are not gone at once
		}
	}
}

func (c *chromium) picture(ctx context.Context) ([]byte, error) {
	infos, err := c.targets()
	if err != nil {
		return nil, err
	}
	newest := infos[slices.IndexFunc(infos, func(i *target.Info) bool { return i.Type == "page" })]
	tab, err := c.attach(newest.TargetID)
	if err != nil {
		return nil, err
	}
	t := chromedp.FromContext(tab.ctx).Target
	// A tab in the background paints nothing.
	if _, err := cdp.Call(ctx, t, page.BringToFront, cdp.Empty{}); err != nil {
		return nil, err
	}
	return chromedp.CaptureScreenshot()(ctx, t)
}
