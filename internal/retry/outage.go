package retry

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/iu-core/iuworker/internal/dbsession"
)

// Outage logs the loss of something once, not once a try, and its return once. Safe for concurrent use.
type Outage struct {
	Logger *slog.Logger
	What   string // "Listener: connection"

	// Observe is called for each failed try. Default: not.
	Observe func()

	// Name tells a fault of the installation, and what mends it, from the loss of the thing: "". Default: all are losses.
	Name func(error) (says, help string)

	mu    sync.Mutex
	since time.Time
	tries int
	fault string // with its way out; "" for none
}

// Failed notes a failed try and returns how many there were since it last worked. Once ctx has ended it logs nothing.
// A fault that turns out to be another one is logged again.
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

// part is the part that it happens to, the first word of What.
func (o *Outage) part() string {
	part, _, _ := strings.Cut(o.What, ":")
	return part
}

// Fault returns the fault of the installation that the last tries met, in a sentence with its way out; "" for none.
func (o *Outage) Fault() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fault == "" {
		return ""
	}
	return strings.ToLower(o.part()) + ": " + o.fault
}

// Worked notes that it works.
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

// Tries returns how many tries failed since it last worked.
func (o *Outage) Tries() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tries
}
