package retry

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/iu-core/iuworker/internal/dbsession"
)

// Outage logs the first failure of an operation, and its next success, but no failure in between. Safe for concurrent use.
type Outage struct {
	Logger *slog.Logger
	What   string // part and resource, such as "Listener: connection"

	// Observe is called for each failed try. Default: nothing is called.
	Observe func()

	// Name names a fault of the installation and its fix. It returns "" for other errors. Default: no error is such a fault.
	Name func(error) (says, help string)

	mu    sync.Mutex
	since time.Time
	tries int
	fault string // of the installation, with its fix; empty if there is none
}

// Failed records a failed try, and returns the number of failures since the last success. It logs the first one, and each new
// fault of the installation, unless ctx has ended.
func (o *Outage) Failed(ctx context.Context, err error) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tries++
	if o.Observe != nil {
		o.Observe()
	}
	var says, help, fault string
	if o.Name != nil {
		if says, help = o.Name(err); says != "" {
			fault = says + "; " + help
		}
	}
	if o.tries == 1 {
		o.since = time.Now()
	}
	news := o.tries == 1 || fault != "" && fault != o.fault
	if fault != "" || o.tries == 1 {
		o.fault = fault
	}
	switch {
	case !news || ctx.Err() != nil:
	case fault != "":
		o.Logger.ErrorContext(ctx, o.part()+": blocked by a fault of the installation; retrying until it is fixed",
			slog.String("fault", says), slog.String("way_out", help))
	default:
		attrs := []any{slog.String("error", err.Error())}
		if out := dbsession.WayOut(err); out != "" {
			attrs = append(attrs, slog.String("way_out", out))
		}
		o.Logger.WarnContext(ctx, o.What+" lost; trying again until it is back", attrs...)
	}
	return o.tries
}

// part returns the part of the program, which is the first word of What.
func (o *Outage) part() string {
	part, _, _ := strings.Cut(o.What, ":")
	return part
}

// Fault returns the fault of the installation and its fix, in a sentence. It returns "" if there is no fault.
func (o *Outage) Fault() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fault == "" {
		return ""
	}
	return strings.ToLower(o.part()) + ": " + o.fault
}

// Worked records a success.
func (o *Outage) Worked(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tries > 0 {
		what := o.What + " is back"
		if o.fault != "" {
			what = o.part() + ": the installation's fault is over"
		}
		o.Logger.InfoContext(ctx, what,
			slog.Duration("after", time.Since(o.since).Round(time.Millisecond)), slog.Int("tries", o.tries))
	}
	o.tries, o.fault = 0, ""
}

// Tries returns the number of failures since the last success.
func (o *Outage) Tries() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tries
}
