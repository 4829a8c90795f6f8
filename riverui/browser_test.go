//go:build browser

package webui_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// browser is one tab of a headless Chromium, driven over a pipe. Without Chromium, the tests that use it fail: their build
// tag excludes them from ordinary runs.
type browser struct {
	t    *testing.T
	in   io.Writer
	next int

	mu       sync.Mutex
	replies  map[int]chan cdpMessage
	problems []string // messages of the console that report a problem
	session  string
}

type cdpMessage struct {
	ID     int             `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
	SessionID string `json:"sessionId,omitempty"`
}

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	require.FailNow(t, "no Chromium", "install it (Debian: apt-get install chromium)")
	return ""
}

// newBrowser starts a Chromium of the test's own, with an empty profile.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	toChromium, in, err := os.Pipe()
	require.NoError(t, err)
	out, fromChromium, err := os.Pipe()
	require.NoError(t, err)
	profile, err := os.MkdirTemp("", "iuworker-browser-") //nolint:usetesting // its child processes may still write there after it has ended
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	command := exec.CommandContext(ctx, chromium(t), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--hide-scrollbars", "--window-size=1280,1600", "--user-data-dir="+profile, "--remote-debugging-pipe", "about:blank")
	command.ExtraFiles = []*os.File{toChromium, fromChromium}
	command.WaitDelay = 10 * time.Second
	var log bytes.Buffer
	command.Stderr = &log
	require.NoError(t, command.Start())
	_, _ = toChromium.Close(), fromChromium.Close()
	b := &browser{t: t, in: in, replies: map[int]chan cdpMessage{}}
	reading := make(chan struct{})
	go func() { b.read(out); close(reading) }()
	t.Cleanup(func() {
		stop := time.AfterFunc(10*time.Second, cancel) // kills Chromium
		b.send("Browser.close", nil)
		_ = command.Wait() // its exit code says nothing about the pages
		stop.Stop()
		cancel()
		_, _ = in.Close(), out.Close()
		<-reading
		if err := os.RemoveAll(profile); err != nil {
			t.Logf("remove the browser's profile: %v", err)
		}
		if t.Failed() {
			t.Logf("console: %s", strings.Join(b.problems, "\n"))
		}
	})
	b.attach()
	return b
}

func (b *browser) read(out io.Reader) {
	messages := bufio.NewReader(out)
	for {
		text, err := messages.ReadBytes(0)
		if err != nil {
			return
		}
		var m cdpMessage
		if json.Unmarshal(bytes.TrimRight(text, "\x00"), &m) != nil {
			continue
		}
		b.mu.Lock()
		if reply := b.replies[m.ID]; m.ID != 0 && reply != nil {
			reply <- m
			delete(b.replies, m.ID)
		}
		switch m.Method {
		case "Log.entryAdded", "Runtime.exceptionThrown":
			b.problems = append(b.problems, string(m.Params))
		}
		b.mu.Unlock()
	}
}

// call sends a command of the DevTools protocol and returns its result.
func (b *browser) call(method string, params map[string]any) json.RawMessage {
	b.t.Helper()
	select {
	case m := <-b.send(method, params):
		require.Nil(b.t, m.Error, "%s %v", method, params)
		return m.Result
	case <-time.After(patience):
		require.FailNow(b.t, "the browser does not reply", method)
		return nil
	}
}

// send sends a command and returns the channel on which its result arrives.
func (b *browser) send(method string, params map[string]any) <-chan cdpMessage {
	reply := make(chan cdpMessage, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	b.replies[b.next] = reply
	command := map[string]any{"id": b.next, "method": method, "params": params}
	if b.session != "" && !strings.HasPrefix(method, "Browser.") {
		command["sessionId"] = b.session
	}
	text, err := json.Marshal(command)
	if err == nil {
		_, err = b.in.Write(append(text, 0))
	}
	if err != nil {
		b.t.Errorf("tell the browser to %s: %v", method, err)
	}
	return reply
}

func (b *browser) attach() {
	b.t.Helper()
	var targets struct {
		TargetInfos []struct{ TargetID, Type string }
	}
	require.NoError(b.t, json.Unmarshal(b.call("Target.getTargets", nil), &targets))
	for _, target := range targets.TargetInfos {
		if target.Type == "page" {
			var attached struct{ SessionID string }
			require.NoError(b.t, json.Unmarshal(b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}), &attached))
			b.session = attached.SessionID
		}
	}
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(domain+".enable", nil)
	}
}

// value evaluates an expression in the page.
func (b *browser) value(expression string) any {
	b.t.Helper()
	var reply struct {
		Result           struct{ Value any }
		ExceptionDetails *struct{ Text string }
	}
	require.NoError(b.t, json.Unmarshal(b.call("Runtime.evaluate",
		map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}), &reply))
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
	select {
	case m := <-b.send("Runtime.evaluate", map[string]any{"expression": "!!(" + expression + ")", "returnByValue": true, "awaitPromise": true}):
		var reply struct{ Result struct{ Value any } }
		return m.Error == nil && json.Unmarshal(m.Result, &reply) == nil && reply.Result.Value == true
	case <-time.After(patience):
		return false
	}
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
	require.NoError(b.t, json.Unmarshal(b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}), &shot))
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
