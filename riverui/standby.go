package webui

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/replica"
)

const (
	// lagShown is the lag of a standby from which on pages mention it.
	lagShown = 3 * time.Second
	// catchUpWait is how long a page waits until a standby shows the change that led to it.
	catchUpWait  = 2 * time.Second
	catchUpEvery = 20 * time.Millisecond
)

// standbyNote is what pages say about the standby that they read.
type standbyNote struct {
	Address string
	Primary bool          // they read the primary instead
	Since   time.Time     // since when
	Cause   string        // why the standby cannot be read; "" if it is too far behind
	Lag     time.Duration // of the standby, at least
	Limit   time.Duration
}

// standbyNote returns nil if there is nothing to say.
func (h *Handler) standbyNote() *standbyNote {
	r := h.cfg.Replica
	if !r.HasStandby() {
		return nil
	}
	state := r.State()
	if !state.FromPrimary && state.Lag < lagShown {
		return nil
	}
	note := &standbyNote{
		Address: addressOf(r.Standby()), Primary: state.FromPrimary, Since: state.Since, Lag: state.Lag.Truncate(time.Second), Limit: r.MaxLag(),
	}
	if state.FromPrimary && state.Err != nil {
		note.Cause = causeOf(state.Err)
	}
	return note
}

// readable reports whether pages can be read although the primary is away.
func (h *Handler) readable() bool {
	state := h.cfg.Replica.State()
	return h.cfg.Replica.HasStandby() && !state.At.IsZero() && state.Err == nil && !state.FromPrimary
}

// catchUp makes the pages show the change that led to this request, if another process may have made it: it expires what was read
// before, and waits a little until a standby has replayed the change.
func (h *Handler) catchUp(r *http.Request) {
	query := r.URL.Query()
	change := query.Get("changed")
	if change == "" {
		change = query.Get("done")
	}
	id, err := strconv.ParseInt(change, 10, 64)
	if err != nil || id <= h.sources.changed.Load() {
		return
	}
	if !h.changed(r.Context(), h.cfg.Pool, id) {
		return // nobody made it
	}
	ctx, cancel := context.WithTimeout(r.Context(), catchUpWait)
	defer cancel()
	for pool := h.cfg.Replica.Pool(); pool != h.cfg.Pool && !h.changed(ctx, pool, id); {
		select {
		case <-ctx.Done():
			h.sources.expire()
			return // the next page tries again
		case <-time.After(catchUpEvery):
		}
	}
	h.sources.changed.Store(max(id, h.sources.changed.Load()))
	h.sources.expire()
}

// changed reports whether a server has the audit line of a change.
func (h *Handler) changed(ctx context.Context, pool *pgxpool.Pool, id int64) (there bool) {
	ctx, cancel := context.WithTimeout(ctx, catchUpWait)
	defer cancel()
	err := pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM iu_outbox.audit AS a WHERE a.id = $1)", id).Scan(&there)
	return err == nil && there // the page itself says what is wrong with the database
}

// standbyWarning returns a function that says for probes what is wrong with a standby, without an address; nil if there is none.
func standbyWarning(r *replica.Reader) func() string {
	if !r.HasStandby() {
		return nil
	}
	return func() string {
		state := r.State()
		switch {
		case state.FromPrimary && state.Err != nil:
			return "the standby cannot be read; reading from the primary"
		case state.FromPrimary:
			return fmt.Sprintf("the standby is %s behind; reading from the primary", state.Lag.Truncate(time.Second))
		case state.Primary != nil:
			return "the primary cannot be reached; reading from the standby, and nothing can be changed"
		case state.Lag >= lagShown:
			return fmt.Sprintf("the standby is %s behind", state.Lag.Truncate(time.Second))
		}
		return ""
	}
}
