package address

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/iu-core/iuworker/cmd/iuworker/internal/spelling"
)

// parameter describes a parameter of an address.
type parameter struct {
	variables []string                  // of the environment, as libpq reads them
	refuse    func(value string) string // returns why a value cannot be used, or ""; nil accepts all
}

// parameters are those of libpq from PostgreSQL 15 to 18, and those of pgx. Each is honoured, refused, or ignored if that does
// not weaken what was asked for. A parameter that is not in the list never reaches a server.
var parameters = map[string]parameter{
	"host":     {[]string{"PGHOST"}, nil},
	"hostaddr": {[]string{"PGHOSTADDR"}, nil},
	"port":     {[]string{"PGPORT"}, nil},
	"dbname":   {[]string{"PGDATABASE"}, refuseAddress},
	"user":     {[]string{"PGUSER"}, refuseAddress},
	"password": {[]string{"PGPASSWORD"}, nil},

	"passfile":    {[]string{"PGPASSFILE"}, nil},
	"service":     {[]string{"PGSERVICE"}, nil},
	"servicefile": {[]string{"PGSERVICEFILE"}, nil},

	"application_name":          {[]string{"PGAPPNAME"}, refuseAddress},
	"fallback_application_name": {nil, refuseAddress},
	"options":                   {[]string{"PGOPTIONS"}, refuseAddress},
	"client_encoding":           {[]string{"PGCLIENTENCODING"}, nil}, // ignored: sessions always use UTF-8
	"replication":               {nil, only("off", "false", "no", "0", "f", "n")},

	"connect_timeout":      {[]string{"PGCONNECT_TIMEOUT"}, wholeNumber},
	"target_session_attrs": {[]string{"PGTARGETSESSIONATTRS"}, only("any", "read-write", "read-only", "primary", "standby", "prefer-standby")},
	"load_balance_hosts":   {[]string{"PGLOADBALANCEHOSTS"}, only("disable", "random")},
	"keepalives":           {nil, wholeNumber},
	"keepalives_idle":      {nil, wholeNumber},
	"keepalives_interval":  {nil, wholeNumber},
	"keepalives_count":     {nil, wholeNumber},
	"tcp_user_timeout":     {nil, wholeNumber},

	"sslmode":                  {[]string{"PGSSLMODE"}, only("disable", "allow", "prefer", "require", "verify-ca", "verify-full")},
	"sslnegotiation":           {[]string{"PGSSLNEGOTIATION"}, only("postgres", "direct")},
	"sslcompression":           {[]string{"PGSSLCOMPRESSION"}, only("0", "1")}, // ignored, as servers do
	"sslcert":                  {[]string{"PGSSLCERT"}, nil},
	"sslkey":                   {[]string{"PGSSLKEY"}, nil},
	"sslcertmode":              {[]string{"PGSSLCERTMODE"}, only("disable", "allow", "require")},
	"sslpassword":              {[]string{"PGSSLPASSWORD"}, nil}, // the variable is pgx's
	"sslrootcert":              {[]string{"PGSSLROOTCERT"}, nil},
	"sslcrl":                   {[]string{"PGSSLCRL"}, nil},
	"sslcrldir":                {[]string{"PGSSLCRLDIR"}, nil},
	"sslsni":                   {[]string{"PGSSLSNI"}, only("0", "1")},
	"sslkeylogfile":            {nil, nil}, // ignored: it only helps to read the traffic
	"ssl_min_protocol_version": {[]string{"PGSSLMINPROTOCOLVERSION"}, tlsVersion},
	"ssl_max_protocol_version": {[]string{"PGSSLMAXPROTOCOLVERSION"}, tlsVersion},

	"requirepeer":     {[]string{"PGREQUIREPEER"}, nil},
	"require_auth":    {[]string{"PGREQUIREAUTH"}, authMethods},
	"channel_binding": {[]string{"PGCHANNELBINDING"}, only("disable", "prefer", "require")},

	"gssencmode":    {[]string{"PGGSSENCMODE"}, gssEncryption},
	"gssdelegation": {[]string{"PGGSSDELEGATION"}, only("0", "1")}, // ignored: nothing is delegated
	"gsslib":        {[]string{"PGGSSLIB"}, nil},                   // ignored: only useful on Windows
	"krbsrvname":    {[]string{"PGKRBSRVNAME"}, nil},
	"krbspn":        {nil, nil}, // pgx

	"min_protocol_version": {[]string{"PGMINPROTOCOLVERSION"}, only("3.0", "3.2", "latest")},
	"max_protocol_version": {[]string{"PGMAXPROTOCOLVERSION"}, only("3.0", "3.2", "latest")},

	"scram_client_key":    {nil, unsupported("give the password instead")},
	"scram_server_key":    {nil, unsupported("give the password instead")},
	"oauth_issuer":        {nil, unsupported("use another way to log in")},
	"oauth_client_id":     {nil, unsupported("use another way to log in")},
	"oauth_client_secret": {nil, unsupported("use another way to log in")},
	"oauth_scope":         {nil, unsupported("use another way to log in")},

	"pool_max_conns":                {nil, atLeast(1)},
	"pool_min_conns":                {nil, atLeast(0)},
	"pool_min_idle_conns":           {nil, atLeast(0)},
	"pool_max_conn_lifetime":        {nil, duration},
	"pool_max_conn_lifetime_jitter": {nil, duration},
	"pool_max_conn_idle_time":       {nil, duration},
	"pool_health_check_period":      {nil, duration},
	"pool_ping_timeout":             {nil, duration},
	"default_query_exec_mode":       {nil, only("cache_describe", "cache_statement", "describe_exec", "exec", "simple_protocol")},
	"statement_cache_capacity":      {nil, atLeast(0)},
	"description_cache_capacity":    {nil, atLeast(0)},
}

// isSecret reports whether the value of a parameter is a secret.
func isSecret(key string) bool {
	return slices.Contains([]string{"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"}, key)
}

// check refuses values that cannot be used, and names that contain a password, since a server logs names. It deletes empty
// values, as libpq ignores them.
func (s settings) check() error {
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if s[key] == "" {
			delete(s, key)
			continue
		}
		if strings.ContainsRune(s[key], 0) {
			return wrong("has a zero byte in %s", key)
		}
		if lower := strings.ToLower(s[key]); !isSecret(key) && (strings.Contains(lower, "password=") || strings.Contains(lower, "pwd=")) {
			return wrong("cannot be used: %s has a password in it: put a blank between keyword=value pairs, and & between those of a URI", key)
		}
		if refuse := parameters[key].refuse; refuse != nil {
			if why := refuse(s[key]); why != "" {
				return wrong("cannot be used: %s %s", key, why)
			}
		}
	}
	if strings.Contains(s["user"], ":") && s["password"] == "" {
		return wrong("cannot be used: user has a colon in it and there is no password: leave the : between them as it is, or give the password apart")
	}
	if s["max_protocol_version"] == "3.0" && s["min_protocol_version"] > "3.0" {
		return wrong("cannot be used: min_protocol_version is above max_protocol_version")
	}
	return nil
}

func only(values ...string) func(string) string {
	return func(value string) string {
		if slices.Contains(values, value) {
			return ""
		}
		return "must be one of " + strings.Join(values, ", ")
	}
}

func atLeast(least int) func(string) string {
	return func(value string) string {
		if n, err := strconv.Atoi(value); err != nil || n < least || n > math.MaxInt32 {
			return fmt.Sprintf("must be a whole number from %d", least)
		}
		return ""
	}
}

func wholeNumber(value string) string {
	if n, err := strconv.Atoi(strings.Trim(value, blanks)); err != nil || n < math.MinInt32 || n > math.MaxInt32 {
		return "must be a whole number"
	}
	return ""
}

func duration(value string) string {
	if d, err := time.ParseDuration(value); err != nil || d < 0 {
		return "must be a duration such as 30m"
	}
	return ""
}

func unsupported(out string) func(string) string {
	return func(string) string { return "is not supported: " + out }
}

func gssEncryption(value string) string {
	if value == "require" {
		return "must not be require, as encryption by Kerberos is not supported: use sslmode"
	}
	return only("disable", "prefer")(value)
}

func tlsVersion(value string) string {
	if _, ok := tlsVersions[strings.ToLower(value)]; !ok {
		return "must be one of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3"
	}
	return ""
}

// authMethods accepts what libpq accepts: a list of methods, either all or none of them after a !.
func authMethods(value string) string {
	methods := strings.Split(value, ",")
	seen := map[string]bool{}
	for _, method := range methods {
		name, not := strings.CutPrefix(method, "!")
		if not != strings.HasPrefix(methods[0], "!") || seen[name] ||
			!slices.Contains([]string{"password", "md5", "gss", "sspi", "scram-sha-256", "oauth", "none"}, name) {
			return "must be a list of password, md5, gss, sspi, scram-sha-256, oauth, none, each once, and all or none with a ! before it"
		}
		seen[name] = true
	}
	return ""
}

var credentials = regexp.MustCompile(`:.*@`)

// refuseAddress refuses an address in place of a name, since a server would receive it.
func refuseAddress(value string) string {
	if strings.Contains(value, "://") || credentials.MatchString(value) {
		return "holds an address: give that as the whole"
	}
	return ""
}

var plainKey = regexp.MustCompile(`^[A-Za-z][A-Za-z_]{1,39}$`)

// unknown returns the error for a parameter that is not in the list. It names the parameter only if that cannot be a part of a password.
func unknown(key string, safe bool) *Error {
	const options = "; settings of the session go into options, as options=-c name=value"
	if near := nearest(key); near != "" {
		return wrong("has a parameter that PostgreSQL does not know: did you mean %s?", near)
	}
	if safe && plainKey.MatchString(key) {
		return wrong("has the parameter %s, which PostgreSQL does not know%s", key, options)
	}
	return wrong("has a parameter that PostgreSQL does not know, and that is not repeated here, as it may be a part of a password: " +
		"quote values that hold blanks, or percent-encode special characters" + options)
}

// nearest returns the parameter that a mistyped one most likely means, or "".
func nearest(key string) string {
	key = strings.ReplaceAll(strings.ToLower(key), "-", "_")
	aliases := map[string]string{
		"database": "dbname", "db": "dbname", "username": "user", "hostname": "host", "pass": "password", "pwd": "password", "ssl_mode": "sslmode",
	}
	if name := aliases[key]; name != "" {
		return name
	}
	return spelling.Nearest(key, slices.Sorted(maps.Keys(parameters)))
}
