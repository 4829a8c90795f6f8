package subscribe

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/listen"
	"github.com/iu-core/iuworker/internal/retry"
)

// announcements rings a bell when events are announced. Notifications may not come through, so its users also poll.
type announcements struct {
	pool   *pgxpool.Pool
	direct *pgx.ConnConfig
	poll   time.Duration // only logged
	what   string        // the component that waits; only logged
	logger *slog.Logger

	listener *listen.Listener
	bell     listen.Bell
}

func newAnnouncements(pool *pgxpool.Pool, direct *pgx.ConnConfig, poll time.Duration, what string, logger *slog.Logger) *announcements {
	// No pings: until TCP keepalive detects a dead connection, polling finds the events.
	listener := listen.New(listen.Config{Pool: pool, Direct: direct, PingInterval: -1, Logger: logger})
	return &announcements{
		pool: pool, direct: direct, poll: poll, what: what, logger: logger, listener: listener, bell: listener.On(EventType),
	}
}

// run listens until ctx ends. Call it once.
func (a *announcements) run(ctx context.Context) {
	var works bool
	for try := 1; ; try++ {
		var err error
		works, err = listen.Works(ctx, a.pool, a.direct)
		if err == nil || !retry.MayPass(err) || readOnly(err) {
			break
		}
		if !retry.Pause(ctx, retry.Reconnect.Wait(try)) {
			return
		}
	}
	switch {
	case ctx.Err() != nil:
		return
	case !works:
		a.logger.InfoContext(ctx, a.what+": notifications do not come through this address; polling",
			slog.Duration("poll_interval", a.poll))
		return
	}
	if err := a.listener.Run(ctx); err != nil {
		a.logger.WarnContext(ctx, a.what+": the listener ended; polling", slog.String("error", err.Error()))
	}
}

// readOnly reports whether an error comes from a server in recovery, which accepts no LISTEN or NOTIFY.
func readOnly(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (pgErr.Code == "25006" || pgErr.Code == "55000")
}
