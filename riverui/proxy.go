package webui

import (
	"cmp"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Without credentials anyone who reaches the pages may do everything, so only this machine may reach them. But a proxy on this
// machine passes on requests of the whole world from a loopback address, mostly with the Host that it was told to connect to. A
// proxied request can be recognized by the headers that the proxy adds, its HTTP version, and the origin that a browser sends.

// proxyHeaders are the beginnings of header names that proxies, load balancers and tunnels add, and no local client sends.
var proxyHeaders = []string{
	"Forwarded", "Via", "Max-Forwards", "Cdn-Loop", "Client-Ip", "True-Client-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Proxyuser-Ip",
	"X-Host", "X-Scheme", "X-Url-Scheme", "X-Rewrite-Url", "X-Nginx-Proxy", "X-Varnish", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context",
	"Remote-User", "Surrogate-Capability", "X-Forwarded", "X-Forward-", "X-Original", "X-Real-", "X-Remote-", "X-Proxy-", "X-Envoy-", "X-Arr-",
	"X-Azure-", "X-Appengine-", "X-Vercel-", "X-Amz-Cf-", "Cf-", "Cloudfront-", "Fastly-", "Fly-", "Incap-", "Proxy-", "Tailscale-",
}

// throughProxy returns what shows that a request did not come directly from this machine; "" if nothing does.
func throughProxy(r *http.Request) string {
	for name := range r.Header { // in canonical form
		if slices.ContainsFunc(proxyHeaders, func(beginning string) bool { return strings.HasPrefix(name, beginning) }) {
			return "it has the header " + printable(name)
		}
	}
	if !r.ProtoAtLeast(1, 1) {
		return "it speaks HTTP/1.0" // nginx does by default, and no browser or curl
	}
	if named, ours := ports(r); named != ours {
		return "it is for port " + named + ", and this is port " + ours // haproxy passes on what the client connected to
	}
	if changes(r) && r.Close {
		return "it has the header Connection: close" // nginx adds it, and no browser or curl
	}
	if from := comesFrom(r); from != "" {
		return "it comes from a page of " + printable(from)
	}
	return ""
}

// ports returns the port that a request names and the port on which it arrived.
func ports(r *http.Request) (named, ours string) {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return "", "" // it did not arrive over a network
	}
	named = (&url.URL{Host: r.Host}).Port()
	return cmp.Or(named, "80"), strconv.Itoa(at.Port)
}

// comesFrom returns the host of the page that a request comes from, or "" if it is this machine's. A request that its browser
// marks as another site's is let through: it may follow a link to here, and the check of origins refuses the rest.
func comesFrom(r *http.Request) string {
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return ""
	}
	for _, name := range []string{"Origin", "Referer"} {
		page := r.Header.Get(name)
		if page == "" || page == "null" {
			continue
		}
		if at, err := url.Parse(page); err != nil || !isLoopback(at.Host) {
			return strings.TrimPrefix(strings.TrimPrefix(page, "https://"), "http://")
		}
	}
	return ""
}

// notLocal returns why a request must not be served without credentials; "" if it may be. what names what is requested, such as
// "these pages". out is the option that serves requests through a proxy; "" if it is set.
func notLocal(r *http.Request, what, out string) string {
	// A site could make its name point to this machine, so that its pages read ours.
	if !isLoopback(r.Host) {
		return "without credentials " + what + " are served only under this machine's own names, such as localhost, and not under " + printable(r.Host)
	}
	if out == "" {
		return ""
	}
	if why := throughProxy(r); why != "" {
		return "without credentials " + what + " are only for this machine, and this request did not come directly from it: " + why +
			"; behind a proxy, start iuworker with " + out
	}
	return ""
}
