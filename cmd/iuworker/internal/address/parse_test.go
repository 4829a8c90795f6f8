package address

import (
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

const secret = "hunter2-Zq9xW"

const lacksSlashes = "begins with postgres but lacks the :// of a URI: write it like postgres://user@host"

func TestMain(m *testing.M) { iutest.Main(m) }

func source(text string, env map[string]string) Source {
	return Source{
		Name: "the test", Text: text, Getenv: func(name string) string { return env[name] },
		Logger: slog.New(slog.DiscardHandler),
	}
}

// led returns where a plan leads, as user@host:port,.../database.
func led(t *testing.T, p *plan) string {
	t.Helper()
	var all []string
	for _, h := range p.hosts {
		place := h.String()
		if h.name != "" && len(h.addresses) > 0 {
			place += "=" + h.addresses[0]
		}
		all = append(all, place)
	}
	return p.user + "@" + strings.Join(all, ",") + "/" + p.database
}

// accepted are addresses that libpq accepts, some only after trimming, and where each leads.
var accepted = map[string]string{
	"postgres://ann@h/x":                                      "ann@h:5432/x",
	"postgresql://ann:pw@h:5433/x":                            "ann@h:5433/x",
	"\n \"postgres://ann@h/x\" \r\n":                          "ann@h:5432/x",
	"'postgres://ann@h/x'":                                    "ann@h:5432/x",
	"\u00a0postgres://ann@h/x\u200b":                          "ann@h:5432/x",
	"\uFEFFpostgres://ann@h/x\n":                              "ann@h:5432/x",
	"  host=h user=ann dbname=x\n":                            "ann@h:5432/x",
	"host = h user = ann\ndbname\t=\tx":                       "ann@h:5432/x",
	"'host=h user=ann dbname=x'":                              "ann@h:5432/x",
	`host='h' user='a n''n' dbname=x`:                         "",
	`host=h user='a\'n\\n' dbname=my\ db`:                     `a'n\n@h:5432/my db`,
	"postgres://ann@h1,h2:5433,h3/x":                          "ann@h1:5432,h2:5433,h3:5432/x",
	"postgres://ann@h1,h2/x?port=5433":                        "ann@h1:5433,h2:5433/x",
	"host=h1,h2 port=1,2 user=ann dbname=x":                   "ann@h1:1,h2:2/x",
	"host=h1,h2 hostaddr=10.0.0.1,10.0.0.2 user=ann":          "ann@h1:5432=10.0.0.1,h2:5432=10.0.0.2/",
	"hostaddr=10.0.0.1 user=ann":                              "ann@10.0.0.1:5432/",
	"hostaddr=::1 host=/var/run/x user=ann":                   "ann@[::1]:5432/",
	"postgres://ann@[::1]:5433/x":                             "ann@[::1]:5433/x",
	"postgres://ann@[::1],h/x":                                "ann@[::1]:5432,h:5432/x",
	"host=::1 user=ann dbname=x":                              "ann@[::1]:5432/x",
	"postgres://ann@%2Ftmp%2Fpg/x":                            "ann@/tmp/pg/.s.PGSQL.5432/x",
	"postgres:///x?host=/tmp/pg&user=ann&port=5433":           "ann@/tmp/pg/.s.PGSQL.5433/x",
	"postgres://ann@/x?host=@pg":                              "ann@@pg/.s.PGSQL.5432/x",
	"postgres://ann@%40pg/x":                                  "ann@@pg/.s.PGSQL.5432/x",
	"host=@pg user=ann":                                       "ann@@pg/.s.PGSQL.5432/",
	"postgres://h/x?user=me@server":                           "me@server@h:5432/x",
	"postgres://h/x?user=me@server&password=p@ss":             "me@server@h:5432/x",
	"postgres://me%40server:p%40ss%2F%3F@h/x":                 "me@server@h:5432/x",
	"user=me@server host=h":                                   "me@server@h:5432/",
	"postgres://ann:a?b=c&d#e@h/x":                            "ann@h:5432/x",
	"postgres://ann@h/x?sslmode=disable&sslmode=prefer":       "ann@h:5432/x",
	"postgres://ann@h/x?ssl=true":                             "ann@h:5432/x",
	"postgres://ann@h/x?client_encoding=latin1&gsslib=gssapi": "ann@h:5432/x",
	"postgres://ann@h/x?options=-c%20search_path%3Da":         "ann@h:5432/x",
	"postgres://ann@h:/x?":                                    "ann@h:5432/x",
	"host=h user=ann gssencmode=prefer keepalives=1 keepalives_idle=3 keepalives_interval=2 keepalives_count=2": "ann@h:5432/",
	"host=h user=ann tcp_user_timeout=3000 load_balance_hosts=random target_session_attrs=read-write":           "ann@h:5432/",
	"host=h user=ann requirepeer=postgres require_auth=!password,!md5 channel_binding=require sslmode=require":  "ann@h:5432/",
	"host=h user=ann sslcompression=0 sslsni=0 ssl_min_protocol_version=TLSv1.3 sslnegotiation=postgres":        "ann@h:5432/",
	"host=h user=ann krbsrvname=postgres gssdelegation=0 min_protocol_version=3.0 max_protocol_version=latest":  "ann@h:5432/",
	"host=h user=ann replication=false connect_timeout=0 sslkeylogfile=/tmp/keys fallback_application_name=y":   "ann@h:5432/",
	"host=h user=ann pool_max_conns=3 pool_max_conn_lifetime=1h default_query_exec_mode=exec":                   "ann@h:5432/",
	"host=h user=ann statement_cache_capacity=0 description_cache_capacity=0 krbspn=x sslrootcert=system":       "ann@h:5432/",
}

func TestWhatLibpqAcceptsIsAccepted(t *testing.T) {
	t.Parallel()
	for text, want := range accepted {
		p, err := source(text, nil).plan()
		if want == "" {
			require.Error(t, err, text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, want, led(t, p), text)
	}
	for _, text := range []string{"postgresql://", "postgres://", "postgres:///", "postgres://?", ""} {
		p, err := source(text, map[string]string{"PGUSER": "ann", "PGHOST": "h", "PGDATABASE": "x"}).plan()
		require.NoError(t, err, text)
		require.Equal(t, "ann@h:5432/x", led(t, p), text)
	}
}

func TestWhatIsAlmostAnAddressIsRefusedWithoutRepeatingIt(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"POSTGRES://ann:" + secret + "@h/x":                                       "has its scheme in capital letters",
		"Postgresql://ann:" + secret + "@h/x":                                     "has its scheme in capital letters",
		"postgresql+asyncpg://ann:" + secret + "@h/x":                             "has the scheme postgresql+asyncpg",
		"jdbc:postgresql://h/x?password=" + secret:                                "has the scheme jdbc:postgresql",
		"jdbc:postgresql://ann:" + secret + "@h/x":                                "has the scheme jdbc:postgresql",
		"mysql://ann:" + secret + "@h/x":                                          "has the scheme mysql",
		"http://ann:" + secret + "@h/x":                                           "has the scheme http",
		"some" + secret + ":/ann@h/x":                                             "is neither",
		"some" + secret + "://h?a=b":                                              "has a scheme that is not postgres",
		"postgres:/ann:" + secret + "@h/x":                                        lacksSlashes,
		"postgres//ann:" + secret + "@h/x":                                        lacksSlashes,
		"postgres//ann:" + secret + "@h/x?sslmode=disable":                        lacksSlashes,
		"psql postgres://ann:" + secret + "@h/x":                                  "begins with the word psql",
		"export DATABASE_URL=postgres://ann:" + secret + "@h":                     "begins with the word export",
		"DATABASE_URL=postgres://ann:" + secret + "@h":                            "has a parameter that PostgreSQL does not know",
		"ann:" + secret + "@h/x":                                                  "is neither a URI that begins with postgres:// nor keyword=value",
		"ann:" + secret + "@h/x?sslmode=disable":                                  "is neither",
		secret:                                                                    "is neither",
		secret + "=":                                                              "has a parameter that PostgreSQL does not know",
		"'postgres://ann:" + secret + "@h/x":                                      "begins with a quote that it does not end with",
		`"postgres://ann:` + secret + `@h/x'`:                                     "begins with a quote",
		"   ":                                                                     "is blank",
		`""`:                                                                      "is blank",
		"postgres://ann:a@" + secret + "@h/x":                                     "has a misplaced @",
		"postgres://ann:12/" + secret + "@h/x":                                    "has a misplaced @",
		"postgres://ann:a/" + secret + "@h/x":                                     "has a misplaced @",
		"postgres://ann:a/b?c=" + secret + "@h/x":                                 "not repeated here",
		"postgres://ann:1/b?dbname=" + secret + "@h/x":                            "has a misplaced @",
		"postgres://ann:1/b?options=" + secret + "@h":                             "has a misplaced @",
		"postgres://ann:1/b?host=" + secret + "@h":                                "has a misplaced @",
		"postgres://ann:1/b?host=@" + secret + "@h":                               "has a misplaced @",
		"postgres://me@server:" + secret + "@h/x":                                 "has a misplaced @",
		"postgres://ann:%zz" + secret + "@h/x":                                    "cannot be decoded in the password",
		"postgres://ann:a b" + secret + "@h/x":                                    "cannot be decoded in the password",
		"postgres://ann:" + secret + "\n@h/x":                                     "cannot be decoded in the password",
		"postgres://ann:" + secret + "@h:port/x":                                  "port must be a number",
		"postgres://ann:" + secret + "@h:70000/x":                                 "port must be a number",
		"postgres://ann:" + secret + "@[::1/x":                                    "has brackets in it",
		"postgres://ann:" + secret + "@h/x?sslmode":                               "is not key=value",
		"postgres://h/x?password=" + secret + "&b" + secret + "=c":                "not repeated here",
		"postgres://ann:" + secret + "@h/x?search_path=iu":                        "search_path, which PostgreSQL does not know; settings of the session go",
		"postgres://ann:" + secret + "@h/x?foo=bar":                               "has the parameter foo, which PostgreSQL does not know",
		"postgres://ann:" + secret + "@h/x?sslmod=disable":                        "did you mean sslmode?",
		"host=h user=ann foo=bar":                                                 "has the parameter foo",
		"host=h pasword=" + secret:                                                "did you mean password?",
		"host=h password=a " + secret + "=b":                                      "not repeated here",
		"host=h password=a b" + secret + " user=ann":                              "has a keyword without a value",
		"host=h password='" + secret:                                              "has a quote in it that is not closed",
		"host=h password=" + secret + " sslmode=perhaps":                          "sslmode must be one of disable, allow, prefer",
		"host=h password=" + secret + " dbname=postgres://ann:" + secret + "@h":   "dbname holds an address",
		"host=postgres://ann:" + secret + "@h":                                    "host must be a name",
		"host=ann:" + secret + "@h":                                               "host must be a name",
		"host=h:" + "5432 password=" + secret:                                     "host must be a name",
		"user=ann;password=" + secret + ";host=h":                                 "user has a password in it",
		"host=h dbname=x&user=ann&password=" + secret:                             "dbname has a password in it",
		"Host=h;Username=ann;Password=" + secret:                                  "did you mean host?",
		"Server=h;Pwd=" + secret:                                                  "has a parameter that PostgreSQL does not know",
		"user=ann:" + secret + "@h/x":                                             "user holds an address",
		"user=ann:" + secret + " host=h":                                          "user has a colon in it",
		"dbname=ann:" + secret + "@h/x":                                           "dbname holds an address",
		"postgres://ann%3A" + secret + "@h/x":                                     "user has a colon in it",
		"postgres://ann%3A" + secret + "%40h/x":                                   "host must be a name",
		"postgres://ann:" + secret + "@h/x?application_name=y;password=" + secret: "is not key=value",
		"postgres://ann:" + secret + "@h/x?sslmode=require'":                      "sslmode must be one of",
		"//ann:" + secret + "@h/x?sslmode=disable":                                "is neither",
		"postgresql:ann:" + secret + "@h/x?sslmode=disable":                       "is neither",
		"DATABASE_URL: postgres://ann:" + secret + "@h/x?a=b":                     "has a scheme that is not postgres",
		"\u201cpostgres://ann:" + secret + "@h/x\u201d":                           "has a scheme that is not postgres",
		"'\"postgres://ann:" + secret + "@h/x\"'":                                 "has a scheme that is not postgres",
		"host=h,g port=1,2,3":                                                     "it has 2 hosts and 3 ports",
		"host=h hostaddr=1.1.1.1,2.2.2.2":                                         "it has 1 hosts and 2 in hostaddr",
		"hostaddr=" + secret:                                                      "hostaddr must be an IP address",
		"host=h gssencmode=require":                                               "gssencmode must not be require",
		"host=h replication=database":                                             "replication must be one of off",
		"host=h require_auth=" + secret:                                           "require_auth must be a list",
		"host=h channel_binding=" + secret:                                        "channel_binding must be one of",
		"host=h scram_client_key=" + secret:                                       "scram_client_key is not supported",
		"host=h oauth_client_secret=" + secret:                                    "oauth_client_secret is not supported",
		"host=h sslmode=verify-ca":                                                "sslmode=verify-ca needs sslrootcert",
		"hostaddr=1.1.1.1 sslmode=verify-full":                                    "needs host as well as hostaddr",
		"host=h sslmode=require sslrootcert=system":                               "sslrootcert=system needs sslmode=verify-full",
		"host=h sslnegotiation=direct":                                            "sslnegotiation=direct needs sslmode=require",
		"host=h sslcert=/x":                                                       "sslcert and sslkey must be given together",
		"host=h sslrootcert=/nowhere/ca sslmode=verify-full":                      "the sslrootcert /nowhere/ca: no such file",
		"host=h sslcrl=/nowhere/crl":                                              "the sslcrl /nowhere/crl: no such file",
		"host=h sslcrldir=/nowhere":                                               "the sslcrldir /nowhere: no such file",
		"host=h passfile=/nowhere/pass":                                           "the passfile /nowhere/pass: no such file",
		"service=s servicefile=/nowhere/services":                                 "the servicefile /nowhere/services: no such file",
		"service=s":                           "names a service that is not in",
		"host=h pool_max_conns=0":             "pool_max_conns must be a whole number from 1",
		"host=h pool_max_conn_lifetime=soon":  "pool_max_conn_lifetime must be a duration",
		"host=h default_query_exec_mode=fast": "default_query_exec_mode must be one of cache_describe",
		"host=h connect_timeout=soon":         "connect_timeout must be a whole number",
		"host=h tty=x":                        "has the parameter tty",
	} {
		_, err := source(text, nil).Config()
		wrong, ok := errors.AsType[*Error](err)
		require.True(t, ok, "%s: %v", text, err)
		require.ErrorContains(t, wrong, says, text)
		require.ErrorContains(t, wrong, "the database address from the test ", text)
		require.NotContains(t, wrong.Error(), secret[:7], text)
		require.NotContains(t, wrong.Error(), "\n", text)
	}
}

func TestTheEnvironmentIsReadAsByLibpq(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"PGHOST": "h", "PGPORT": "5433", "PGDATABASE": "x", "PGUSER": "ann", "PGPASSWORD": secret, "PGHOSTADDR": "10.0.0.1",
		"PGOPTIONS": "-c geqo=off", "PGSSLMODE": "require", "PGREQUIREAUTH": "scram-sha-256", "PGCHANNELBINDING": "require",
		"PGAPPNAME": "shop", "PGCONNECT_TIMEOUT": "7", "PGTARGETSESSIONATTRS": "primary", "PGLOADBALANCEHOSTS": "random",
		"PGCLIENTENCODING": "latin1", "PGDATESTYLE": "German", "PGTZ": "Mars", "PGGEQO": "off",
	}
	cfg, err := source("", env).Config()
	require.NoError(t, err)
	c := cfg.Pool.ConnConfig
	require.Equal(t, map[string]string{"application_name": "shop", "options": "-c geqo=off"}, c.RuntimeParams)
	require.Equal(t, "7s", c.ConnectTimeout.String())
	require.Equal(t, []any{"h", uint16(5433), "x", "ann", secret}, []any{c.Host, c.Port, c.Database, c.User, c.Password})
	require.Equal(t, []string{"scram-sha-256", "require"}, []string{c.RequireAuth, c.ChannelBinding})
	require.NotNil(t, c.TLSConfig)
	require.NotNil(t, c.ValidateConnect)
	require.Empty(t, c.Fallbacks)
	cfg, err = source("postgres://bob@g/y?application_name=z&sslmode=disable", env).Config()
	require.NoError(t, err)
	require.Equal(t, "bob", cfg.Pool.ConnConfig.User)
	require.Equal(t, "z", cfg.Pool.ConnConfig.RuntimeParams["application_name"])
	require.Nil(t, cfg.Pool.ConnConfig.TLSConfig)
	for name, value := range map[string]string{
		"PGGSSENCMODE": "require", "PGSSLMODE": "perhaps", "PGHOST": "postgres://a:" + secret + "@h", "PGPORT": secret, "PGREQUIREAUTH": "x",
		"PGSERVICE": "none", "PGDATABASE": "postgres://a:" + secret + "@h", "PGSSLROOTCERT": "/nowhere",
	} {
		_, err := source("", map[string]string{name: value}).Config()
		wrong, ok := errors.AsType[*Error](err)
		require.True(t, ok, name)
		require.NotContains(t, wrong.Error(), secret)
	}
	_, err = source("host=h", map[string]string{"PGPASSFILE": "/nowhere", "HOME": "/nowhere"}).Config()
	require.NoError(t, err)
	cfg, err = source("host=h", map[string]string{"PGREQUIRESSL": "1"}).Config()
	require.NoError(t, err)
	require.NotNil(t, cfg.Pool.ConnConfig.TLSConfig)
	require.Empty(t, cfg.Pool.ConnConfig.Fallbacks, "it must not be refused, and go on in plain text")
}

// newer are parameters that were added after PostgreSQL 15. An older libpq refuses them.
var newer = regexp.MustCompile(`sslkeylogfile|scram_client_key|scram_server_key|_protocol_version|servicefile|oauth_|load_balance_hosts|require_auth|` +
	`sslcertmode|sslnegotiation|gssdelegation|sslrootcert=system`)

// ours are parameters of pgx.
var ours = regexp.MustCompile(`^(?:pool_.*)$|_cache_capacity|krbspn|default_query_exec_mode`)

// psqlTakes reports whether psql can parse an address. If so, psql fails because of the unknown sslmode, before it connects.
func psqlTakes(t *testing.T, address string) bool {
	t.Helper()
	_, rest, uri := strings.Cut(address, "://")
	_, path, _ := strings.Cut(rest, "/")
	switch {
	case uri && strings.HasSuffix(path, "?"):
		address += "sslmode=bogus"
	case uri && strings.Contains(path, "?"):
		address += "&sslmode=bogus"
	case uri:
		address += "?sslmode=bogus"
	default:
		address += " sslmode=bogus"
	}
	_, err := iutest.Program(t, "psql", "-d", address)
	require.Error(t, err)
	return strings.Contains(err.Error(), "invalid sslmode value")
}

func TestPsqlAgrees(t *testing.T) {
	t.Parallel()
	for key := range parameters {
		if !ours.MatchString(key) && !newer.MatchString(key) {
			_, err := iutest.Program(t, "psql", "-d", "host=127.0.0.1 port=1 "+key+"=")
			require.Error(t, err)
			require.NotContains(t, err.Error(), "invalid connection option", key)
		}
	}
	for text := range accepted {
		trimmed, err := trim(text)
		require.NoError(t, err)
		if !newer.MatchString(text) && !strings.Contains(text, "pool_") && !strings.Contains(text, "_cache_") && accepted[text] != "" {
			require.True(t, psqlTakes(t, trimmed), text)
		}
	}
	for _, text := range []string{
		"postgres://ann:%zz@h/x", "postgres://ann@[::1/x", "postgres://ann@[]/x", "postgres://ann@[::1]x/x",
		"postgres://ann@h/x?sslmode", "postgres://ann@h/x?application_name=a=b", "postgres://ann@h/x?foo=bar", "postgres://ann@h/x?port=%00",
		"host", "host=h foo=bar", "host=h password='x", "=x", "host=h user", "POSTGRES://ann@h/x", "host=h,g port=1,2,3", "host=h hostaddr=1.1.1.1,2.2.2.2",
	} {
		require.False(t, psqlTakes(t, text), text)
		_, err := source(text, nil).Config()
		require.Error(t, err, text)
	}
}

func FuzzAddress(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""}, {"a/", ""}, {"12/b?c=", "&d"}, {"@", "/"}, {"%zz", ""}, {"a b", "'"}, {"1,", ":2/x"}, {"[", "]"}, {"\\", "'"}, {"#", "?"}, {"' ", " x="},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before, "=") && strings.Contains(before+after, "?") {
			return // a password that looks like a query cannot be distinguished from one
		}
		password := before + secret + after
		quoted := "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password) + "'"
		for _, text := range []string{
			"postgres://ann:" + password + "@127.0.0.1/x", "postgresql://ann:" + password + "@127.0.0.1:1/x?sslmode=disable",
			"postgres//ann:" + password + "@h/x", "ann:" + password + "@h/x", password, "mysql://ann:" + password + "@h/x",
			"host=h user=ann password=" + quoted, "password=" + quoted + " host=h nonsense", `"postgres://ann:` + password + `@h/x"`,
		} {
			cfg, err := source(text, nil).Config()
			if err != nil {
				if strings.Contains(err.Error(), secret) {
					t.Fatalf("%q: %v", text, err)
				}
				continue
			}
			c := cfg.Pool.ConnConfig
			if strings.Contains(c.Host+c.Database, secret) {
				t.Fatalf("%q leads to %s/%s", text, c.Host, c.Database)
			}
			for key, value := range c.RuntimeParams {
				if strings.Contains(key+value, secret) {
					t.Fatalf("%q sends %s=%s", text, key, value)
				}
			}
			for _, other := range c.Fallbacks {
				if strings.Contains(other.Host, secret) {
					t.Fatalf("%q leads to %s", text, other.Host)
				}
			}
		}
	})
}
