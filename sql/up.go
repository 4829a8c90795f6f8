package iusql

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5"
)

// Result reports what a run did.
type Result struct {
	From      int64           `json:"from"`      // the version before it, 0 for none
	To        int64           `json:"to"`        // the version after it
	Versions  []VersionStatus `json:"versions"`  // what was applied, or removed
	Functions bool            `json:"functions"` // whether the functions were installed
}

// Up brings the database to SchemaVersion and installs the functions. Each version is one transaction together with
// its record; the next run continues an interrupted one. Any number of processes may call it at once: one migrates,
// and the others wait and then find nothing to do. On a newer schema it does nothing.
func Up(ctx context.Context, cfg Config) (result *Result, err error) {
	err = inSession(ctx, cfg, func(s *session) error {
		if err := s.lock(ctx); err != nil {
			return err
		}
		if err := s.showRows(ctx); err != nil {
			return err
		}
		st, steps, err := s.prepareUp(ctx, true)
		if err != nil {
			return err
		}
		result = &Result{From: st.version(), To: st.version()}
		return s.runUp(ctx, steps, result)
	})
	return result, err
}

// prepareUp reads the database and plans the steps, before anything is changed.
func (s *session) prepareUp(ctx context.Context, checkPrivileges bool) (st *state, steps []step, err error) {
	found := &findings{}
	err = s.read(ctx, func(tx pgx.Tx) error {
		if st, err = readState(ctx, tx); err != nil || st.schema.Newer() || st.current() {
			return err
		}
		found, err = s.preflight(ctx, tx, st, checkPrivileges)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if st.schema.Newer() {
		s.cfg.Logger.WarnContext(ctx, "Migration: the schema is newer than this program, nothing is changed",
			slog.Int64("schema", st.schema.Version), slog.String("program", ProgramVersion))
		return st, nil, st.schema.check()
	}
	if err := found.err(st); err != nil {
		return nil, nil, err
	}
	steps, err = s.planUp(ctx, st, found)
	return st, steps, err
}

func (s *session) runUp(ctx context.Context, steps []step, result *Result) error {
	for _, step := range steps {
		err := s.retry(ctx, step.title, func() error {
			return s.write(ctx, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, step.text())
				return err
			})
		})
		if err != nil {
			return err
		}
		if step.version > 0 {
			result.To = step.version
			result.Versions = append(result.Versions, VersionStatus{Version: step.version, Name: step.title, State: applied, Origin: step.origin})
		}
		result.Functions = result.Functions || step.title == functionsTitle
		s.logStep(ctx, "Migration: applied "+step.title, step)
	}
	return nil
}

// logStep logs a step. A step that is only part of a version is logged at debug level.
func (s *session) logStep(ctx context.Context, message string, step step) {
	level, attributes := slog.LevelInfo, []slog.Attr{}
	switch {
	case step.version > 0:
		attributes = append(attributes, slog.Int64("version", step.version))
	case step.title != functionsTitle:
		level = slog.LevelDebug
	}
	if step.origin != "" {
		attributes = append(attributes, slog.String("origin", step.origin))
	}
	s.cfg.Logger.LogAttrs(ctx, level, message, attributes...)
}
