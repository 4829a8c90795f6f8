package webui_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/jobs"
	webui "github.com/iu-core/iuworker/riverui"
)

type riverBundle struct {
	handler *webui.Handler
	db      *iutest.DB
	client  *river.Client[pgx.Tx]
}

func setupRiver(t *testing.T) riverBundle {
	t.Helper()
	handler, db := newHandler(t, func(cfg *webui.Config) { cfg.Credentials = credentials(t) })
	client, err := river.NewClient(riverpgxv5.New(db.Pool), &river.Config{Schema: jobs.RiverSchema})
	require.NoError(t, err)
	return riverBundle{handler: handler, db: db, client: client}
}

func (b riverBundle) insert(t *testing.T, key string) *rivertype.JobRow {
	t.Helper()
	inserted, err := b.client.Insert(t.Context(), jobs.AutoInstantiateArgs{EventID: uuid.New(), InstanceKeySuffix: key}, nil)
	require.NoError(t, err)
	return inserted.Job
}

func (b riverBundle) state(t *testing.T, id int64) rivertype.JobState {
	t.Helper()
	job, err := b.client.JobGet(t.Context(), id)
	require.NoError(t, err)
	return job.State
}

func (b riverBundle) audit(t *testing.T) []operate.AuditLine {
	t.Helper()
	lines, err := operate.Audit(t.Context(), b.db.Pool, 0, 100)
	require.NoError(t, err)
	return lines
}

func TestRiverUIsChangesLeaveAnAuditLine(t *testing.T) {
	t.Parallel()
	b := setupRiver(t)
	first, second := b.insert(t, "a"), b.insert(t, "b")
	ids := fmt.Sprintf(`{"ids": ["%d", "%d"]}`, first.ID, second.ID)

	w := serve(b.handler, http.MethodPost, "/riverui/api/jobs/cancel", strings.NewReader(ids), asOperator)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, rivertype.JobStateCancelled, b.state(t, first.ID))
	w = serve(b.handler, http.MethodPost, "/riverui/api/jobs/retry", strings.NewReader(ids), asOperator)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, rivertype.JobStateAvailable, b.state(t, second.ID))

	lines := b.audit(t)
	require.Len(t, lines, 2)
	require.Equal(t, "job.retry", lines[0].Action)
	require.Equal(t, "job.cancel", lines[1].Action)
	require.Equal(t, "otto", lines[1].Actor)
	var detail struct {
		IDs    []string `json:"ids"`
		Remote string   `json:"remote"`
	}
	require.NoError(t, json.Unmarshal(lines[1].Detail, &detail))
	require.Equal(t, []string{fmt.Sprint(first.ID), fmt.Sprint(second.ID)}, detail.IDs)
	require.Equal(t, "192.0.2.1", detail.Remote)
}

func TestAChangeThatRiverUIRefusesLeavesNothing(t *testing.T) {
	t.Parallel()
	b := setupRiver(t)
	job := b.insert(t, "a")
	for name, try := range map[string]struct {
		method, path, body string
		status             int
	}{
		"one of two is not there": {http.MethodPost, "/riverui/api/jobs/cancel", fmt.Sprintf(`{"ids": ["%d", "999"]}`, job.ID), http.StatusNotFound},
		"no ids":                  {http.MethodPost, "/riverui/api/jobs/cancel", `{}`, http.StatusBadRequest},
		"no object":               {http.MethodPost, "/riverui/api/jobs/cancel", `[1]`, http.StatusBadRequest},
		"no JSON":                 {http.MethodPost, "/riverui/api/jobs/delete", `ids=1`, http.StatusBadRequest},
		"too long":                {http.MethodPost, "/riverui/api/jobs/delete", strings.Repeat(" ", 2<<20), http.StatusRequestEntityTooLarge},
		"no such queue":           {http.MethodPut, "/riverui/api/queues/none/pause", ``, http.StatusNotFound},
		"no such change":          {http.MethodPost, "/riverui/api/jobs", `{}`, http.StatusNotFound},
		"no such method":          {http.MethodDelete, "/riverui/api/jobs/1", ``, http.StatusMethodNotAllowed},
	} {
		w := serve(b.handler, try.method, try.path, strings.NewReader(try.body), asOperator)
		require.Equal(t, try.status, w.Code, "%s: %s", name, w.Body)
		require.Contains(t, w.Body.String(), `"message":`, name)
	}
	require.Equal(t, rivertype.JobStateAvailable, b.state(t, job.ID))
	require.Empty(t, b.audit(t))
}

func TestAChangeWithoutItsAuditLineIsNotMade(t *testing.T) {
	t.Parallel()
	b := setupRiver(t)
	job := b.insert(t, "a")
	b.db.Exec(t, "ALTER TABLE iu_outbox.audit ADD CONSTRAINT full_up CHECK (false)")
	w := serve(b.handler, http.MethodPost, "/riverui/api/jobs/cancel", strings.NewReader(fmt.Sprintf(`{"ids": ["%d"]}`, job.ID)), asOperator)
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Equal(t, rivertype.JobStateAvailable, b.state(t, job.ID))
}
