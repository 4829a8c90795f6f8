package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	webui "github.com/iu-core/iuworker/riverui"
)

const (
	healthcheckLimit = 4 * time.Second // /readyz replies within 3 s, whatever it waits for
	probeMax         = 64 << 10        // bytes of a reply that are read
)

func (a *app) healthcheckCommand() *cobra.Command {
	var addr string
	var ready bool
	cmd := a.withJSON(&cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the process on this machine whether it is alive or ready, as a container's health check",
		Long: `Requests /healthz, or /readyz with --ready, from the process that serves --http-addr on this machine. Exits with 0 if it
replies within 4 s that it is alive or ready, and with 1 otherwise. It needs no credentials and no database.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, err := probeTarget(cmd, addr)
			if err != nil {
				return err
			}
			result, err := askProbe(cmd.Context(), target, ready)
			if err != nil {
				return err
			}
			return a.print(result, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", result.URL, result.State) })
		},
	})
	takesSettings(cmd)
	cmd.Flags().Var(addrValue(&addr), "http-addr", "host:port at which the process serves its probes (default "+webui.DefaultAddr+")")
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it is able to work, too, which depends on the database")
	return cmd
}

// health is what a process says about itself.
type health struct {
	URL   string `json:"url"`
	State string `json:"state"` // alive or ready
}

// probeTarget returns the host and port to connect to for an address that a process listens on: one that listens on all
// addresses of the machine is reached on loopback.
func probeTarget(cmd *cobra.Command, addr string) (string, error) {
	if addr == webui.Off {
		return "", usage(cmd, "--http-addr is off: that process serves no probe")
	}
	host, port, err := net.SplitHostPort(cmp.Or(addr, webui.DefaultAddr))
	if err != nil {
		return "", usage(cmd, "--http-addr: %v", err)
	}
	if port == "0" {
		return "", usage(cmd, "--http-addr has port 0, which stands for any free port: give the port that the process logs")
	}
	switch ip := net.ParseIP(host); {
	case host == "" || ip.Equal(net.IPv4zero):
		host = "127.0.0.1"
	case ip.Equal(net.IPv6unspecified):
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

// askProbe requests a probe. It never goes through a proxy, and follows no redirect.
func askProbe(ctx context.Context, target string, ready bool) (health, error) {
	path, state := "/healthz", "alive"
	if ready {
		path, state = "/readyz", "ready"
	}
	result := health{URL: "http://" + target + path, State: state}
	ctx, cancel := context.WithTimeout(ctx, healthcheckLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, result.URL, http.NoBody)
	if err != nil {
		return health{}, fmt.Errorf("request %s: %w", result.URL, err)
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return health{}, unreachable(target, err)
	}
	defer func() { _ = response.Body.Close() }() // what matters was read
	body, err := io.ReadAll(io.LimitReader(response.Body, probeMax))
	if err != nil {
		return health{}, unreachable(target, err)
	}
	if response.StatusCode == http.StatusOK {
		return result, nil
	}
	var reply struct{ Reason string }
	_ = json.Unmarshal(body, &reply) // another server's reply may be anything
	return health{}, fmt.Errorf("not %s: %s returned %d%s", state, result.URL, response.StatusCode, reason(reply.Reason))
}

func reason(text string) string {
	if text == "" {
		return "; check that iuworker listens there"
	}
	return ": " + flat(text)
}

// unreachable returns why nothing replied, and what to do about it.
func unreachable(target string, err error) error {
	cause := err.Error()
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		cause = "no reply within " + healthcheckLimit.String()
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.As(err, &op) && op.Err != nil:
		cause = op.Err.Error()
	}
	return fmt.Errorf("not alive: %s: %s; check that iuworker runs there, and give its --http-addr", target, cause)
}
