package webui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	iusql "github.com/iu-core/iuworker/sql"

	"github.com/iu-core/iuworker/internal/retry"
)

// say responds with one sentence, in the form that the caller reads: a page, JSON for River UI and
// for the events, else a line of text.
func (h *Handler) say(w http.ResponseWriter, r *http.Request, status int, format string, args ...any) {
	text := redact(fmt.Sprintf(format, args...))
	switch {
	case strings.HasPrefix(r.URL.Path, h.at("riverui/api/")):
		answerJSON(w, status, map[string]string{"message": text})
	case h.isEvents(r):
		answerProblem(w, problem{Status: status, Detail: text})
	case strings.Contains(r.Header.Get("Accept"), "text/html"):
		h.render(w, r, status, "sentence.html", &sentencePage{page: h.page(r, http.StatusText(status)), Text: text})
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = fmt.Fprintln(w, text) // if this fails, the client has disconnected
	}
}

type sentencePage struct {
	page
	Text string
}

// fail responds to an error of the database: a sentence for what the caller can do something about, else the log has it.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, sentence := explain(err)
	if r.Context().Err() != nil {
		return // nobody waits for the response
	}
	h.cfg.Logger.WarnContext(r.Context(), "Pages: a request failed", slog.String("path", r.URL.Path), slog.String("error", redact(err.Error())))
	if changes(r) && lostConnection(err) {
		sentence = "the connection to the database was lost; the audit page shows whether the change was made"
	}
	h.say(w, r, status, "%s", sentence)
}

// explain returns what to tell of an error of the database, and the status to tell it with.
func explain(err error) (status int, sentence string) {
	var connect *pgconn.ConnectError
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &connect):
		return http.StatusServiceUnavailable, "cannot connect to the database; the log says why"
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "the database did not reply in time; try again"
	case lostConnection(err):
		return http.StatusServiceUnavailable, "the connection to the database was lost; try again"
	case !errors.As(err, &pgErr):
		return http.StatusInternalServerError, "this failed; the log says why"
	}
	switch {
	case iusql.RefusedByRowSecurity(err):
		return http.StatusServiceUnavailable, "row security hides rows from the database login of this worker; run as the owner: iuworker migrate up"
	case pgErr.Code == pgerrcode.InsufficientPrivilege:
		return http.StatusForbidden, "the database login of this worker may not do that; grant it the role iu_operator"
	case pgErr.Code == pgerrcode.UndefinedTable, pgErr.Code == pgerrcode.UndefinedFunction,
		pgErr.Code == pgerrcode.InvalidSchemaName, pgErr.Code == pgerrcode.UndefinedColumn:
		return http.StatusServiceUnavailable, "the schema is missing or outdated; run: iuworker migrate up"
	case pgErr.Code == pgerrcode.ReadOnlySQLTransaction:
		return http.StatusServiceUnavailable, "this database is read-only: it is a standby, or was set to read-only"
	case pgerrcode.IsDataException(pgErr.Code), pgerrcode.IsIntegrityConstraintViolation(pgErr.Code):
		return http.StatusBadRequest, "the database refuses this: " + pgErr.Message
	case pgerrcode.IsTransactionRollback(pgErr.Code), pgerrcode.IsOperatorIntervention(pgErr.Code),
		pgErr.Code == pgerrcode.LockNotAvailable, pgerrcode.IsInsufficientResources(pgErr.Code):
		return http.StatusServiceUnavailable, "the database is busy (" + pgErr.Message + "); nothing was changed; try again"
	default:
		return http.StatusInternalServerError, "this failed; the log says why"
	}
}

// lostConnection reports whether the session ended before the server said what became of the statement.
func lostConnection(err error) bool {
	var connect *pgconn.ConnectError
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code {
		case pgerrcode.AdminShutdown, pgerrcode.CrashShutdown, pgerrcode.CannotConnectNow, pgerrcode.IdleInTransactionSessionTimeout:
			return true
		}
		return pgerrcode.IsConnectionException(pgErr.Code)
	}
	return !errors.As(err, &connect) && !errors.Is(err, context.DeadlineExceeded) && retry.MayPass(err)
}

func answerJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // if this fails, the client has disconnected
}

var (
	urlPassword     = regexp.MustCompile(`(?i)(://[^:/?\s]*):[^\s]*@`)
	keywordPassword = regexp.MustCompile(`(?i)(pass(?:word|file|wd)?\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&;,'"]+)`)
)

// redact takes out what looks like a password. It is the last resort: addresses are not repeated in the first place.
func redact(text string) string {
	text = urlPassword.ReplaceAllString(text, "$1:xxxxx@")
	return keywordPassword.ReplaceAllString(text, "${1}xxxxx")
}

// withSentences makes a mux say what is wrong with a path or a method that it does not know.
func (h *Handler) withSentences(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		var refused refusal
		handler.ServeHTTP(&refused, r)
		if refused.status == http.StatusMethodNotAllowed {
			allow := refused.header.Get("Allow")
			w.Header().Set("Allow", allow)
			h.say(w, r, http.StatusMethodNotAllowed, "%s is not allowed here; allowed: %s", r.Method, allow)
			return
		}
		h.say(w, r, http.StatusNotFound, "there is nothing at %s", printable(r.URL.Path))
	})
}

// refusal takes a mux's response to what it does not know, to say it in our words.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}
func (r *refusal) WriteHeader(status int)      { r.status = status }
func (r *refusal) Write(p []byte) (int, error) { return len(p), nil }

// printable returns what a caller sent, short and harmless, for a sentence.
func printable(text string) string {
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == '\uFFFD' {
			return '?'
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	if runes := []rune(text); len(runes) > 100 {
		return string(runes[:100]) + "…"
	}
	return text
}
