package webui

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
	"github.com/iu-core/iuworker/internal/operate/status"
)

// leastBetweenRuns is how old the doctor's report must be before a request makes a new one. All requests share it.
const leastBetweenRuns = 2 * time.Second

// healthReport is the doctor's report as the page shows it.
type healthReport struct {
	At       time.Time
	Seconds  float64
	Total    int           // checks
	Good     int           // that are ok
	SkippedN int           // that were skipped
	Problems []healthCheck // failures, then warnings
	Groups   []healthGroup
	Skipped  []skippedChecks
}

type healthCheck struct {
	doctor.Check

	Mend button // zero: no page mends it
}

// healthGroup has the checks of a group that are ok.
type healthGroup struct {
	Name   string
	Checks []doctor.Check
}

// skippedChecks are the checks that were skipped for one reason.
type skippedChecks struct {
	Reason, WayOut, Next string
	Checks               []string
}

// mendings are the pages that mend what checks find, by the name of the check.
var mendings = map[string]button{
	"consumers":    {Path: "/consumers", Label: "Open consumers"},
	"dead letters": {Path: "/dead-letters", Label: "Review dead letters"},
	"jobs":         {Path: "/workers", Label: "Open workers"},
	"outbox":       {Path: "/workers", Label: "Open workers"},
	"queues":       {Path: "/workers#queues", Label: "Open queues"},
	"retries":      {Path: "/riverui/jobs?state=retryable", Label: "Open retrying jobs"},
	"settings":     {Path: "/settings", Label: "Open settings"},
	"workers":      {Path: "/workers", Label: "Open workers"},
}

// openGate leads to the page that opens a gate.
func openGate(gate compose.Gate, label string) button {
	return button{Path: "/gates/" + string(gate) + "?to=open", Label: label, Operator: true}
}

// closedGate returns the first closed gate: the composer before the other one, which waits for it.
func closedGate(gates []operate.Gate) (operate.Gate, bool) {
	i := slices.IndexFunc(gates, func(g operate.Gate) bool { return !g.Open })
	if i < 0 {
		return operate.Gate{}, false
	}
	return gates[i], true
}

func healthOf(report doctor.Report, state status.Status) healthReport {
	shown := healthReport{At: report.At, Seconds: report.Seconds, Total: len(report.Checks)}
	good := map[string][]doctor.Check{} // by group
	for _, check := range report.Checks {
		switch check.Result {
		case operate.HealthOK:
			shown.Good++
			good[check.Group()] = append(good[check.Group()], check)
		case operate.HealthSkipped:
			shown.SkippedN++
			i := slices.IndexFunc(shown.Skipped, func(s skippedChecks) bool { return s.Reason == check.Says })
			if i < 0 {
				i = len(shown.Skipped)
				shown.Skipped = append(shown.Skipped, skippedChecks{Reason: check.Says, WayOut: check.WayOut, Next: check.Next})
			}
			shown.Skipped[i].Checks = append(shown.Skipped[i].Checks, check.Name)
		default:
			mend := mendings[check.Name]
			if gate, closed := closedGate(state.Gates); closed && (check.Name == "gates" || check.Name == "parked") {
				mend = openGate(gate.Gate, "Open "+string(gate.Gate)+"…")
			}
			shown.Problems = append(shown.Problems, healthCheck{check, mend})
		}
	}
	slices.SortStableFunc(shown.Problems, func(a, b healthCheck) int {
		return trueFirst(a.Result == operate.HealthFail, b.Result == operate.HealthFail)
	})
	for _, name := range doctor.Groups() {
		if len(good[name]) > 0 {
			shown.Groups = append(shown.Groups, healthGroup{name, good[name]})
		}
	}
	return shown
}

// healthPage shows what the doctor found. With run=again, the checks run again first.
func (h *Handler) healthPage(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("run") != "" {
		h.sources.health.again(r.Context(), leastBetweenRuns)
		at := h.sources.health.peek().At.UnixMilli()
		h.back(w, r, "health?since="+strconv.FormatInt(at, 10))
		return
	}
	// Another process may have made the report that the reader has asked for.
	since, err := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
	if err == nil && h.sources.health.peek().At.UnixMilli() < since {
		h.sources.health.again(r.Context(), leastBetweenRuns)
	}
	v := h.view(r, "Health", "health")
	add(v, "report", "", func(ctx context.Context) reading[healthReport] {
		report, state := h.sources.health.get(ctx), h.sources.state.get(ctx)
		state.At, state.Err = report.At, nil // without the state, the report is shown and names no gate
		return both(report, state, healthOf)
	})
	h.serve(w, r, v)
}
