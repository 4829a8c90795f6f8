//go:build browser

package webui_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// browser is one page of Chromium, in a browser context of the test's own: it shares no cookies, credentials, storage or cache
// with other tests. Without Chromium, the tests that use it fail: their build tag excludes them from ordinary runs.
type browser struct {
	t        *testing.T
	chromium *chromium
	session  string

	mu       sync.Mutex
	problems []string // messages of the console that report a problem
}

// newBrowser opens a page that closes when the test ends.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	c, err := sharedChromium()
	require.NoError(t, err)
	return c.newPage(t)
}

func (c *chromium) newPage(t *testing.T) *browser {
	t.Helper()
	b := &browser{t: t, chromium: c}
	var created struct{ BrowserContextID, TargetID, SessionID string }
	b.decode(&created, "Target.createBrowserContext", nil)
	t.Cleanup(func() {
		_, err := c.call("", "Target.disposeBrowserContext", map[string]any{"browserContextId": created.BrowserContextID})
		assert.NoError(t, err)
		c.detach(b.session)
		if t.Failed() {
			t.Logf("console: %s", strings.Join(b.complaints(), "\n"))
		}
	})
	b.decode(&created, "Target.createTarget", map[string]any{"url": "about:blank", "browserContextId": created.BrowserContextID})
	b.decode(&created, "Target.attachToTarget", map[string]any{"targetId": created.TargetID, "flatten": true})
	b.session = created.SessionID
	c.attach(b.session, b)
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(domain+".enable", nil)
	}
	b.call("Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true})
	return b
}

// notice handles an event of the page.
func (b *browser) notice(m cdpMessage) {
	if m.Method == "Log.entryAdded" || m.Method == "Runtime.exceptionThrown" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.problems = append(b.problems, string(m.Params))
	}
}

// call sends a command of the DevTools protocol to the page, and returns its result.
func (b *browser) call(method string, params map[string]any) json.RawMessage {
	b.t.Helper()
	result, err := b.chromium.call(b.session, method, params)
	require.NoError(b.t, err, "%v", params)
	return result
}

// decode sends a command, and decodes its result.
func (b *browser) decode(result any, method string, params map[string]any) {
	b.t.Helper()
	require.NoError(b.t, json.Unmarshal(b.call(method, params), result))
}

// value evaluates an expression in the page.
func (b *browser) value(expression string) any {
	b.t.Helper()
	var reply struct {
		Result           struct{ Value any }
		ExceptionDetails *struct{ Text string }
	}
	b.decode(&reply, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true})
	require.Nil(b.t, reply.ExceptionDetails, expression)
	return reply.Result.Value
}

// wait waits until an expression is true. Between two documents it never is.
func (b *browser) wait(expression string) {
	b.t.Helper()
	iutest.Eventually(b.t, func() bool { return b.holds(expression) }, patience, expression)
}

// holds reports whether an expression is true. It is not if the document is left meanwhile.
func (b *browser) holds(expression string) bool {
	b.t.Helper()
	result, err := b.chromium.call(b.session, "Runtime.evaluate",
		map[string]any{"expression": "!!(" + expression + ")", "returnByValue": true, "awaitPromise": true})
	if _, refused := errors.AsType[*cdpError](err); refused {
		return false
	}
	require.NoError(b.t, err, expression)
	var reply struct{ Result struct{ Value any } }
	return json.Unmarshal(result, &reply) == nil && reply.Result.Value == true
}

// open opens an address and waits until its document is complete.
func (b *browser) open(url string) {
	b.t.Helper()
	b.call("Page.navigate", map[string]any{"url": url})
	b.wait(`document.readyState === "complete" && location.href !== "about:blank"`)
}

// follow clicks an element that leads to another page, and waits for that page.
func (b *browser) follow(selector string) {
	b.t.Helper()
	b.wait(fmt.Sprintf("document.querySelector(%q)", selector))
	b.value(fmt.Sprintf("window.here = true, document.querySelector(%q).click()", selector))
	b.wait(`!window.here && document.readyState === "complete"`)
}

// enter types a text into a field, as from a keyboard.
func (b *browser) enter(selector, text string) {
	b.t.Helper()
	b.value(fmt.Sprintf("document.querySelector(%q).focus(), document.querySelector(%q).select()", selector, selector))
	b.call("Input.insertText", map[string]any{"text": text})
}

// key presses a key.
func (b *browser) key(key string, code int) {
	b.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		b.call("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code})
	}
}

// text returns the visible text of the page.
func (b *browser) text() string {
	b.t.Helper()
	text, _ := b.value("document.body.innerText").(string)
	return text
}

// picture stores a screenshot of the whole page in the directory SCREENSHOTS, if that is set.
func (b *browser) picture(name string) {
	b.t.Helper()
	directory := os.Getenv("SCREENSHOTS")
	if directory == "" {
		return
	}
	require.NoError(b.t, os.WriteFile(filepath.Join(directory, name+".png"), b.screenshot(), 0o600))
}

// screenshot returns a screenshot of the whole page.
func (b *browser) screenshot() []byte {
	b.t.Helper()
	var shot struct{ Data string }
	b.decode(&shot, "Page.captureScreenshot", map[string]any{"captureBeyondViewport": true})
	image, err := base64.StdEncoding.DecodeString(shot.Data)
	require.NoError(b.t, err)
	return image
}

// complaints returns the problems that the console reported: errors of scripts, and violations of the policy.
func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.problems...)
}
