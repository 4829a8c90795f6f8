package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/conformance"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	require.Contains(t, run(t, on(db), "conformance").done(t).out, "7/7 PASS, created by iuworker")
	require.Contains(t, run(t, on(db), "conformance", "--all").done(t).out, "fn_iu_compose(text, text, uuid[], text, text)")
	db.Exec(t, "GRANT UPDATE ON dot_config TO PUBLIC")
	require.Contains(t, run(t, on(db), "conformance").done(t).out, "foreign grant: PUBLIC has UPDATE on TABLE public.dot_config; "+
		"to remove it, run: REVOKE UPDATE ON TABLE public.dot_config FROM PUBLIC CASCADE\n7/7 PASS, created by iuworker")
	db.Exec(t, "REVOKE UPDATE ON dot_config FROM PUBLIC")

	db.Exec(t, "DROP VIEW public.v_iu_auto_instantiate_event_summary")
	r := run(t, on(db), "conformance").failed(t, exitFailed, "iu-core does not conform: 6/7 PASS")
	require.Regexp(t, `v_iu_auto_instantiate_event_summary +FAIL +missing`, r.out)
	report := decode[conformance.Report](t, run(t, on(db), "conformance", "--json"))
	require.Equal(t, "6/7 PASS", report.Verdict)
	require.False(t, report.Passed())

	run(t, on(iutest.Empty(t)), "conformance").failed(t, exitFailed, "there is no iu-core here")
}

func TestSelftest(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	r := run(t, on(db), "selftest").done(t)
	require.Contains(t, r.out, "12/12 PASS")
	require.NotContains(t, r.out, "FAIL")

	db.Exec(t, "INSERT INTO public.event_route (event_type, target) VALUES ('iu.template.instance_auto_composed', 'x')")
	r = run(t, on(db), "selftest").failed(t, exitFailed, "11 of 12 probes passed")
	require.Contains(t, r.out, "FAIL")
	report := decode[conformance.SelftestReport](t, run(t, on(db), "selftest", "--json"))
	require.Len(t, report.Probes, 12)
	require.Equal(t, 11, report.Passed)
}
