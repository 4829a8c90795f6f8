package replica

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/retry"
)

// DefaultMaxLag is the default of Config.MaxLag.
const DefaultMaxLag = 30 * time.Second

const (
	defaultCheckTimeout = 2 * time.Second

	checkInterval = time.Second
	returnAfter   = 2           // good checks after which reads return to a standby that was away
	avoidFor      = time.Minute // how long a standby is not read after Avoid
)

// Config configures a Reader. The zero value of a field means its default.
type Config struct {
	// Primary is the pool of the primary. Required.
	Primary *pgxpool.Pool

	// Standby is the pool of the hot standby. Default: none, and everything is read on the primary.
	Standby *pgxpool.Pool

	// MaxLag is how far behind the standby may be. Default DefaultMaxLag. -1: as far as it likes.
	MaxLag time.Duration

	// CheckTimeout is how long one check may take. A server that has not answered by then cannot be read. Default 2 s.
	CheckTimeout time.Duration

	// What names the component that reads, for the log.
	What string

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// Reader chooses a pool for each read. Safe for concurrent use.
type Reader struct {
	cfg    Config
	logger *slog.Logger
	nudge  chan struct{} // asks for a check now

	mu      sync.Mutex
	state   State
	good    int       // checks in a row that found nothing wrong
	avoided time.Time // until then the standby is not read
	samples samples
	asked   bool // the servers were asked who they are
}

// State is what the last check found.
type State struct {
	At          time.Time     // of the check; zero: there was none
	Err         error         // why the standby cannot be read; nil if it can
	Lag         time.Duration // of the standby, at least; 0 if it is not known
	Primary     error         // why the primary cannot be read; nil if it can
	FromPrimary bool          // reads go to the primary
	Since       time.Time     // since when reads go there
}

// New returns a reader. Its checks begin with Run.
func New(cfg Config) *Reader {
	cfg.MaxLag = cmp.Or(cfg.MaxLag, DefaultMaxLag)
	cfg.CheckTimeout = cmp.Or(cfg.CheckTimeout, defaultCheckTimeout)
	return &Reader{cfg: cfg, logger: cmp.Or(cfg.Logger, slog.Default()), nudge: make(chan struct{}, 1)}
}

// HasStandby reports whether there is a standby to read.
func (r *Reader) HasStandby() bool { return r.cfg.Standby != nil }

// Standby returns the pool of the standby; nil if there is none.
func (r *Reader) Standby() *pgxpool.Pool { return r.cfg.Standby }

// MaxLag returns how far behind the standby may be; negative: as far as it likes.
func (r *Reader) MaxLag() time.Duration { return r.cfg.MaxLag }

// Pool returns where to read now.
func (r *Reader) Pool() *pgxpool.Pool {
	if r.cfg.Standby == nil || r.State().FromPrimary {
		return r.cfg.Primary
	}
	return r.cfg.Standby
}

// State returns what the last check found.
func (r *Reader) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// Failed makes Run check at once, because a read has failed.
func (r *Reader) Failed() {
	select {
	case r.nudge <- struct{}{}:
	default:
	}
}

// errAnother means that the standby does not replay this primary.
var errAnother = errors.New("the standby replicates from another server")

// Avoid makes reads go to the primary for a minute. Call it if the standby cannot be read for a reason that a check does not find, such
// as another history.
func (r *Reader) Avoid(ctx context.Context, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.avoided = time.Now().Add(avoidFor)
	r.take(ctx, State{At: time.Now(), Err: why})
}

// Run checks the standby every second until ctx ends.
func (r *Reader) Run(ctx context.Context) {
	if r.cfg.Standby == nil {
		return
	}
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		r.Check(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-r.nudge:
			retry.Pause(ctx, checkInterval/10) // reads that fail in a row ask for few checks
		}
	}
}

// Check asks both servers once, and returns what it found.
func (r *Reader) Check(ctx context.Context) State {
	if r.cfg.Standby == nil {
		return State{}
	}
	found := r.look(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() == nil {
		r.take(ctx, found)
	}
	return r.state
}

// look asks both servers.
func (r *Reader) look(ctx context.Context) (found State) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.CheckTimeout)
	defer cancel()
	began := time.Now()
	var written, replayed *int64
	var asking sync.WaitGroup
	asking.Go(func() { written, found.Primary = ask(ctx, r.cfg.Primary, writtenSQL) })
	asking.Go(func() { replayed, found.Err = ask(ctx, r.cfg.Standby, replayedSQL) })
	asking.Wait()
	found.At = time.Now()
	if found.Primary == nil && found.Err == nil {
		found.Err = r.same(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if written != nil {
		r.samples.add(sample{*written, began})
	}
	if replayed != nil && found.Err == nil {
		found.Lag = r.samples.lag(*replayed, found.At)
	}
	return found
}

// A server in recovery writes nothing, and one that is not has replayed everything: it was promoted, or is the primary.
const (
	writtenSQL = `SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery()
		THEN (pg_catalog.pg_current_wal_lsn() OPERATOR(pg_catalog.-) '0/0'::pg_catalog.pg_lsn)::bigint END`
	replayedSQL = `SELECT CASE WHEN pg_catalog.pg_is_in_recovery()
		THEN (pg_catalog.pg_last_wal_replay_lsn() OPERATOR(pg_catalog.-) '0/0'::pg_catalog.pg_lsn)::bigint END`
	identitySQL = `SELECT s.system_identifier FROM pg_catalog.pg_control_system() AS s`
)

// ask returns a number; nil if the server does not reveal it.
func ask(ctx context.Context, pool *pgxpool.Pool, sql string) (n *int64, err error) {
	err = pool.QueryRow(ctx, sql).Scan(&n)
	if refused(err) {
		return nil, nil
	}
	return n, err
}

// same returns an error if the standby replicates from another server. It asks once.
func (r *Reader) same(ctx context.Context) error {
	r.mu.Lock()
	asked := r.asked
	r.mu.Unlock()
	if asked {
		return nil
	}
	here, err := ask(ctx, r.cfg.Primary, identitySQL)
	if err != nil {
		return nil // the next check asks again
	}
	there, err := ask(ctx, r.cfg.Standby, identitySQL)
	if err != nil {
		return err
	}
	if here != nil && there != nil && *here != *there {
		return errAnother
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = true
	return nil
}

// take decides where to read, and logs a change. The caller holds mu.
//
//nolint:cyclop // a decision, in one place
func (r *Reader) take(ctx context.Context, found State) {
	if found.Err == nil && time.Now().Before(r.avoided) {
		found.Err = r.state.Err
	}
	if found.Err != nil {
		r.asked, r.good = false, 0 // the address may lead to another server afterwards
	} else {
		r.good++
	}
	before := r.state
	limit := r.cfg.MaxLag
	if before.FromPrimary {
		limit /= 2
	}
	far := r.cfg.MaxLag >= 0 && found.Lag > limit
	away := found.Err != nil || before.FromPrimary && before.Err != nil && r.good < returnAfter
	found.FromPrimary = found.Primary == nil && (far || away)
	if found.Primary != nil && found.Err != nil { // there is nowhere to go
		found.FromPrimary = before.FromPrimary
	}
	if found.FromPrimary && found.Err == nil && !far {
		found.Err = before.Err
	}
	found.Since = before.Since
	if found.FromPrimary && !before.FromPrimary {
		found.Since = found.At
	}
	r.state = found
	switch {
	case found.FromPrimary == before.FromPrimary:
	case !found.FromPrimary:
		r.logger.InfoContext(ctx, r.cfg.What+": reading from the standby again", slog.Duration("lag", found.Lag))
	case found.Err != nil:
		r.logger.WarnContext(ctx, r.cfg.What+": the standby cannot be read; reading from the primary", slog.String("error", found.Err.Error()))
	default:
		r.logger.WarnContext(ctx, r.cfg.What+": the standby is too far behind; reading from the primary",
			slog.Duration("lag", found.Lag.Round(time.Second)), slog.Duration("max_lag", r.cfg.MaxLag))
	}
}
