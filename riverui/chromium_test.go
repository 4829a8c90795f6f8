//go:build browser

package webui_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/iu-core/iuworker/internal/iutest"
)

// sharedChromium returns the Chromium of this process. The first test that needs it starts it, and it ends after the last test.
var sharedChromium = sync.OnceValues(func() (*chromium, error) {
	c, err := startChromium()
	if err == nil {
		iutest.AtEnd(c.end)
	}
	return c, err
})

// chromium is a headless Chromium with an empty profile, driven over a pipe. It is safe for concurrent use.
type chromium struct {
	command *exec.Cmd
	profile string
	in, out *os.File
	ended   chan struct{} // closed when Chromium has closed the pipe

	mu      sync.Mutex
	next    int
	replies map[int]chan cdpMessage
	pages   map[string]*browser // by session
}

type cdpMessage struct {
	ID        int             `json:"id,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *cdpError       `json:"error,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
}

// cdpError is Chromium's refusal of a command.
type cdpError struct {
	Message string `json:"message"`
}

func (e *cdpError) Error() string { return e.Message }

func findChromium() (path string, err error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no Chromium: install it (Debian: apt-get install chromium)")
}

// startChromium starts a Chromium that does not throttle pages in the background.
func startChromium() (*chromium, error) {
	path, err := findChromium()
	if err != nil {
		return nil, err
	}
	profile, err := os.MkdirTemp("", "iuworker-browser-")
	if err != nil {
		return nil, err
	}
	c := &chromium{profile: profile, ended: make(chan struct{}), replies: map[int]chan cdpMessage{}, pages: map[string]*browser{}}
	c.command = exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
		"--hide-scrollbars", "--window-size=1280,1600", "--user-data-dir="+profile, "--remote-debugging-pipe", "--no-startup-window")
	if err := c.start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(profile))
	}
	go c.read()
	return c, nil
}

// start starts the process with its pipes. Its stderr goes to a file.
func (c *chromium) start() error {
	stderr, err := os.Create(filepath.Join(c.profile, "stderr"))
	if err != nil {
		return err
	}
	defer stderr.Close() //nolint:errcheck // only the process writes there
	toChromium, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer toChromium.Close() //nolint:errcheck // the process has its own
	out, fromChromium, err := os.Pipe()
	if err != nil {
		return err
	}
	defer fromChromium.Close() //nolint:errcheck // the process has its own
	c.in, c.out = in, out
	c.command.Stderr = stderr
	c.command.ExtraFiles = []*os.File{toChromium, fromChromium}
	return c.command.Start()
}

// end closes Chromium, or kills it after 10 seconds, and removes its profile. If Chromium has crashed, end prints its stderr.
func (c *chromium) end() {
	select {
	case <-c.ended:
		text, _ := os.ReadFile(c.command.Stderr.(*os.File).Name()) // without it, the tests' own messages remain
		fmt.Fprintf(os.Stderr, "the browser ended before the tests did; its stderr:\n%s", text)
	default:
	}
	kill := time.AfterFunc(10*time.Second, func() { _ = c.command.Process.Kill() })
	_, _ = c.send("", "Browser.close", nil) // fails if Chromium has ended
	_ = c.command.Wait()                    // its exit code says nothing about the pages
	kill.Stop()
	_, _ = c.in.Close(), c.out.Close()
	<-c.ended
	if err := os.RemoveAll(c.profile); err != nil { // its child processes may still write there
		fmt.Fprintln(os.Stderr, "remove the browser's profile:", err)
	}
}

// read passes replies to those who wait for them, and events to their pages, until Chromium ends.
func (c *chromium) read() {
	defer close(c.ended)
	messages := bufio.NewReader(c.out)
	for {
		text, err := messages.ReadBytes(0)
		if err != nil {
			return
		}
		var m cdpMessage
		if json.Unmarshal(bytes.TrimRight(text, "\x00"), &m) != nil {
			continue
		}
		c.mu.Lock()
		reply, page := c.replies[m.ID], c.pages[m.SessionID]
		delete(c.replies, m.ID)
		c.mu.Unlock()
		if reply != nil {
			reply <- m
		} else if page != nil {
			page.notice(m)
		}
	}
}

// call sends a command of the DevTools protocol to a session, or to Chromium itself if session is "", and returns its result. It
// fails at once if Chromium has ended.
func (c *chromium) call(session, method string, params map[string]any) (json.RawMessage, error) {
	reply, err := c.send(session, method, params)
	if err != nil {
		return nil, fmt.Errorf("tell the browser to %s: %w", method, err)
	}
	select {
	case m := <-reply:
		if m.Error != nil {
			return nil, fmt.Errorf("%s: %w", method, m.Error)
		}
		return m.Result, nil
	case <-c.ended:
		return nil, fmt.Errorf("the browser ended before it replied to %s", method)
	case <-time.After(patience):
		return nil, fmt.Errorf("the browser did not reply to %s within %s", method, patience)
	}
}

// send sends a command, and returns the channel on which its result arrives.
func (c *chromium) send(session, method string, params map[string]any) (<-chan cdpMessage, error) {
	reply := make(chan cdpMessage, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	command := map[string]any{"id": c.next, "method": method, "params": params}
	if session != "" {
		command["sessionId"] = session
	}
	text, err := json.Marshal(command)
	if err != nil {
		return nil, err
	}
	c.replies[c.next] = reply
	_, err = c.in.Write(append(text, 0))
	return reply, err
}

// attach passes the events of a session to its page, until detach.
func (c *chromium) attach(session string, page *browser) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pages[session] = page
}

func (c *chromium) detach(session string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pages, session)
}
