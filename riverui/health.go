package webui

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
)

// leastBetweenRuns is how old the doctor's report must be to be made again on request: all requests share one.
const leastBetweenRuns = 2 * time.Second

// healthReport is the doctor's report as the page shows it.
type healthReport struct {
	At       time.Time
	Seconds  float64
	Total    int
	Problems []healthCheck // failures, then warnings
	Groups   []healthGroup // of what is ok
	Skipped  []skippedChecks
}

type healthCheck struct {
	doctor.Check

	Mend mending // zero: no page mends it
}

// mending leads to the page that mends what a check found.
type mending struct{ Path, Label string }

// healthGroup is the checks of a group that are ok.
type healthGroup struct {
	Name   string
	Checks []doctor.Check
}

// skippedChecks are the checks that were skipped for one reason.
type skippedChecks struct {
	Reason, WayOut, Next string
	Checks               []string
}

// mendings are the pages that mend what checks find. The page says that nothing is to be done for those without one.
var mendings = map[string]mending{
	"consumers":    {"/consumers", "Open consumers"},
	"dead letters": {"/dead-letters", "Review dead letters"},
	"jobs":         {"/workers", "Open workers"},
	"outbox":       {"/workers", "Open workers"},
	"queues":       {"/workers#queues", "Open queues"},
	"retries":      {"/riverui/jobs?state=retryable", "Open retrying jobs"},
	"settings":     {"/settings", "Open settings"},
	"workers":      {"/workers", "Open workers"},
}

// gateMending leads to the gate that is closed; the composer first, since the other one waits for it.
func gateMending(state operate.Status) mending {
	for _, gate := range state.Gates {
		if !gate.Open {
			return mending{"/gates/" + string(gate.Gate) + "?to=open", "Open " + string(gate.Gate) + "…"}
		}
	}
	return mending{}
}

func healthOf(report doctor.Report, state operate.Status) healthReport {
	shown := healthReport{At: report.At, Seconds: report.Seconds, Total: len(report.Checks)}
	for _, result := range []operate.Health{operate.HealthFail, operate.HealthWarn} {
		for _, check := range report.Checks {
			if check.Result != result {
				continue
			}
			mend := mendings[check.Check]
			if check.Check == "gates" || check.Check == "parked" {
				mend = gateMending(state)
			}
			shown.Problems = append(shown.Problems, healthCheck{check, mend})
		}
	}
	for _, name := range doctor.Groups() {
		group := healthGroup{Name: name}
		for _, check := range report.Checks {
			if check.Group() == name && check.Result == operate.HealthOK {
				group.Checks = append(group.Checks, check)
			}
		}
		if len(group.Checks) > 0 {
			shown.Groups = append(shown.Groups, group)
		}
	}
	for _, check := range report.Checks {
		if check.Result != operate.HealthSkipped {
			continue
		}
		i := slices.IndexFunc(shown.Skipped, func(s skippedChecks) bool { return s.Reason == check.Says })
		if i < 0 {
			i = len(shown.Skipped)
			shown.Skipped = append(shown.Skipped, skippedChecks{Reason: check.Says, WayOut: check.WayOut, Next: check.Next})
		}
		shown.Skipped[i].Checks = append(shown.Skipped[i].Checks, check.Check)
	}
	return shown
}

// Good returns how many checks are ok.
func (r healthReport) Good() (n int) {
	for _, group := range r.Groups {
		n += len(group.Checks)
	}
	return n
}

// SkippedN returns how many checks were skipped.
func (r healthReport) SkippedN() (n int) {
	for _, s := range r.Skipped {
		n += len(s.Checks)
	}
	return n
}

// healthPage shows what the doctor found. Requested with run=again it has the checks made again first.
func (h *Handler) healthPage(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("run") != "" {
		h.sources.health.again(r.Context(), leastBetweenRuns)
		h.back(w, r, "health", 0)
		return
	}
	v := h.view(r, "Health", "health")
	add(v, "report", "", func(ctx context.Context) reading[healthReport] {
		report, state := h.sources.health.get(ctx), h.sources.state.get(ctx)
		state.At, state.Err = report.At, nil // without it no gate is named; the report itself tells why
		return both(report, state, healthOf)
	})
	h.serve(w, r, v)
}
