package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// StandbyConfig says how a standby follows its primary. Its zero value is an asynchronous one.
type StandbyConfig struct {
	// Synchronous makes every commit on the primary wait until the standby has stored it. If the standby ends, commits wait
	// until SetSynchronous says otherwise. Default: false.
	Synchronous bool

	// Settings override those of the primary, which the standby otherwise shares. Default: none.
	Settings map[string]string
}

// standbyTimeout bounds each step of a standby, such as a promotion, beyond the bound of the caller's ctx.
const standbyTimeout = time.Minute

// slotTimeout bounds the removal of a slot.
const slotTimeout = 30 * time.Second

// Standby copies a running server and starts the copy as a hot standby, which streams from it. It listens in the same way as its
// primary, and ends like every server: by Stop, or with the program. ctx bounds only the start. Standbys of standbys do not work.
func (s *Server) Standby(ctx context.Context, cfg StandbyConfig) (*Server, error) {
	as := s.cfg
	as.BinDir, as.DataDir, as.primary = s.binDir, "", s
	as.Settings = maps.Clone(as.Settings)
	if as.Settings == nil {
		as.Settings = map[string]string{}
	}
	maps.Copy(as.Settings, cfg.Settings)
	standby, err := Start(ctx, as)
	if err != nil {
		return nil, fmt.Errorf("start a standby: %w", err)
	}
	if err := s.adopt(ctx, standby, cfg.Synchronous); err != nil {
		return nil, errors.Join(err, standby.Stop())
	}
	return standby, nil
}

// adopt waits until a standby that was started streams, and makes it synchronous if it is to be.
func (s *Server) adopt(ctx context.Context, standby *Server, synchronous bool) error {
	// The copy holds what the primary waits for. The standby would wait for it after its promotion.
	if err := standby.set(ctx, "synchronous_standby_names", ""); err != nil {
		return err
	}
	err := s.await(ctx, "the standby streams",
		"SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_replication WHERE application_name = $1 AND state = 'streaming')", standby.name())
	if err != nil || !synchronous {
		return err
	}
	return s.SetSynchronous(ctx, standby)
}

// name is how a standby calls itself on its primary: in pg_stat_replication, and its slot.
func (s *Server) name() string { return "standby_" + filepath.Base(s.dir.path) }

// dropSlot removes the slot that a standby or a failed copy leaves on its primary, because the slot would keep WAL there forever. If the
// primary does not run, the slot stays.
func (s *Server) dropSlot() {
	primary := s.cfg.primary
	if !primary.runs() {
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), slotTimeout, fmt.Errorf("not within %s", slotTimeout))
	defer cancel()
	// The primary may notice a little later that the standby has ended.
	err := primary.await(ctx, "the slot is idle",
		"SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND active)", s.name())
	if err == nil {
		err = primary.exec(ctx, fmt.Sprintf(
			"SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = '%s'", s.name()))
	}
	if err != nil {
		s.cfg.Logger.Warn("Postgres: a standby's slot stays on its primary", slog.String("slot", s.name()), slog.Any("error", err))
	}
}

// runs reports whether the server's main process runs.
func (s *Server) runs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return false
	}
	select {
	case <-s.process.ended:
		return false
	default:
		return true
	}
}

// SetSynchronous makes every commit wait until a standby has stored it, and returns once that is so; nil makes commits wait for no
// standby.
func (s *Server) SetSynchronous(ctx context.Context, standby *Server) error {
	if standby == nil {
		return s.set(ctx, "synchronous_standby_names", "")
	}
	if err := s.set(ctx, "synchronous_standby_names", standby.name()); err != nil {
		return err
	}
	return s.await(ctx, "commits wait for the standby",
		"SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_replication WHERE application_name = $1 AND sync_state = 'sync')", standby.name())
}

// PauseReplay makes a standby receive WAL without replaying it, and returns once no more is replayed. A promotion replays what was
// received; StopReceiving makes a standby lose commits.
func (s *Server) PauseReplay(ctx context.Context) error {
	if err := s.exec(ctx, "SELECT pg_catalog.pg_wal_replay_pause()"); err != nil {
		return err
	}
	return s.await(ctx, "replay pauses", "SELECT pg_catalog.pg_get_wal_replay_pause_state() = 'paused'")
}

// ResumeReplay ends PauseReplay.
func (s *Server) ResumeReplay(ctx context.Context) error {
	return s.exec(ctx, "SELECT pg_catalog.pg_wal_replay_resume()")
}

// StopReceiving cuts a standby off its primary, and returns once it is. Commits of an asynchronous primary are lost from then on if
// the standby is promoted, and those of a synchronous one wait.
func (s *Server) StopReceiving(ctx context.Context) error {
	if err := s.exec(ctx, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_catalog.pg_reload_conf()"); err != nil {
		return err
	}
	return s.await(ctx, "the standby stops receiving", "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver)")
}

// AwaitReplay waits until a standby has replayed all that its primary has written by now.
func (s *Server) AwaitReplay(ctx context.Context) error {
	if s.cfg.primary == nil {
		return errors.New("wait for the replay: the server is no standby")
	}
	var written string
	err := s.cfg.primary.with(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT pg_catalog.pg_current_wal_lsn()::text").Scan(&written)
	})
	if err != nil {
		return err
	}
	return s.await(ctx, "the standby replays "+written, "SELECT pg_catalog.pg_last_wal_replay_lsn() >= $1::pg_catalog.pg_lsn", written)
}

// Promote makes a standby a primary, and returns once it accepts writes. It replays what it has received, paused or not. The old
// primary goes on unless the caller ends it.
func (s *Server) Promote(ctx context.Context) error {
	if err := s.exec(ctx, "SELECT pg_catalog.pg_promote(wait => false)"); err != nil {
		return err
	}
	return s.await(ctx, "the standby is promoted", "SELECT NOT pg_catalog.pg_is_in_recovery()")
}

// URL returns the superuser's URL of a database with several hosts: the servers, in that order. It needs no password.
func URL(database string, servers ...*Server) string {
	var hosts, ports []string
	for _, s := range servers {
		hosts, ports = append(hosts, s.host()), append(ports, strconv.Itoa(s.port))
	}
	query := url.Values{"sslmode": {"disable"}, "host": {strings.Join(hosts, ",")}, "port": {strings.Join(ports, ",")}}
	u := url.URL{Scheme: "postgres", User: url.User(superuser), Path: "/" + database, RawQuery: query.Encode()}
	return u.String()
}

// host returns where the server listens: an IP address, or the directory of its socket.
func (s *Server) host() string {
	if s.cfg.TCP {
		return loopback
	}
	return s.dir.path
}

// set changes a setting of a running server; "" resets it.
func (s *Server) set(ctx context.Context, name, setting string) error {
	change := fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, setting)
	if setting == "" {
		change = "ALTER SYSTEM RESET " + name
	}
	return s.exec(ctx, change, "SELECT pg_catalog.pg_reload_conf()")
}

// with calls do with a connection of the superuser.
func (s *Server) with(ctx context.Context, do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, standbyTimeout, fmt.Errorf("not within %s", standbyTimeout))
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL(superuser))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // what matters was done before
	return do(ctx, conn)
}

// exec runs statements, each in a transaction of its own.
func (s *Server) exec(ctx context.Context, statements ...string) error {
	return s.with(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		for _, sql := range statements {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
}

// await polls a query that returns a boolean until it is true.
func (s *Server) await(ctx context.Context, what, query string, args ...any) error {
	return s.with(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var err error
		met := poll(ctx, func() bool {
			var fulfilled *bool // NULL is not true
			err = conn.QueryRow(ctx, query, args...).Scan(&fulfilled)
			return err != nil || fulfilled != nil && *fulfilled
		})
		if met && err == nil {
			return nil
		}
		return fmt.Errorf("wait until %s: %w", what, cmp.Or(context.Cause(ctx), err))
	})
}
