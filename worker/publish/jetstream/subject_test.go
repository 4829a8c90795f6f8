package jetstream_test

import (
	"cmp"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/publish/jetstream"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		wide, narrow string
		want         bool
	}{
		{"iu.shop.*", "iu.shop.*", true}, {"iu.>", "iu.shop.*", true}, {">", "iu.shop.*", true}, {"*.shop.*", "iu.shop.*", true},
		{"iu.shop.letter", "iu.shop.*", false}, {"iu.*", "iu.shop.*", false}, {"iu.shop.>", "iu.shop", false}, {"iu.shop.*.*", "iu.shop.*", false},
		{"iu.bar.*", "iu.shop.*", false},
	} {
		require.Equal(t, c.want, jetstream.Covers(c.wide, c.narrow), c)
	}
}

func TestCheckSubject(t *testing.T) {
	t.Parallel()
	for subject, ok := range map[string]bool{
		"iu.{database}.{template}": true, "orders": true, "a.{actor}-{event_type}": true, "ä.b": false, "": false, "a..b": false, ".a": false, "a.*": false,
		"a.>": false, "a b": false, "{order}": false, "{}": false, "a.{database": false, "$JS.x": false, "a.\x00": false,
	} {
		require.Equal(t, ok, jetstream.CheckSubject(subject) == nil, subject)
	}
}

// Whatever a template or an actor is called, a server takes the subject, and the stream's subjects cover it.
func FuzzSubjects(f *testing.F) {
	for _, seed := range []string{"letter", "", "a.b", "a b*>", "$JS", "\x00\r\n", "ünï", strings.Repeat("x", 5000), "{database}", "\xff\xfe"} {
		f.Add(seed, seed, seed)
	}
	f.Fuzz(func(t *testing.T, template, actor, database string) {
		database = cmp.Or(database[:min(len(database), 63)], "shop") // as PostgreSQL has them
		sink, err := jetstream.New(jetstream.Config{
			Servers: []string{"nats://127.0.0.1:1"}, Database: database, Subject: "iu.{database}.x-{template}.{actor}.{event_type}",
		})
		require.NoError(t, err)
		preview, err := sink.Preview(subscribe.Event{Data: subscribe.Data{TemplateKey: template, Actor: actor}})
		require.NoError(t, err)
		require.True(t, server.IsValidPublishSubject(preview.To), preview.To)
		require.Len(t, strings.Split(preview.To, "."), 5)
		require.True(t, jetstream.Covers(sink.Wildcard(), preview.To), "%s %s", sink.Wildcard(), preview.To)
		require.Less(t, len(preview.To), 1500)
	})
}

// Whatever an instance is called, its header is one line, and says what it said.
func FuzzHeaderValues(f *testing.F) {
	for _, seed := range []string{"tpl-inst:auto:1", "", " a ", "a\r\nNats-Msg-Id: 1", "100%", `"x"`, "ünï", "\x7f", "%41"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value := publish.HeaderValue(text)
		back, err := url.PathUnescape(value)
		require.NoError(t, err)
		require.Equal(t, text, back)
		require.True(t, utf8.ValidString(value))
		require.NotContains(t, value, " ")
		header := nats.Header{}
		header.Set("ce-subject", value)
		header.Set("Nats-Msg-Id", "0123abcd-1")
		message := &nats.Msg{Subject: "x", Header: header}
		require.Positive(t, message.Size())
		var lines strings.Builder
		lines.WriteString("NATS/1.0\r\n")
		for name, values := range header {
			lines.WriteString(name + ": " + values[0] + "\r\n")
		}
		lines.WriteString("\r\n")
		read, err := nats.DecodeHeadersMsg([]byte(lines.String()))
		require.NoError(t, err)
		require.Equal(t, "0123abcd-1", read.Get("Nats-Msg-Id"))
		require.Equal(t, value, read.Get("ce-subject"))
	})
}
