package doctor

import "context"

// notifications fill up where a session that listens stays in a transaction: at last, every NOTIFY fails at commit.
func (e *examination) notifications(ctx context.Context) (Check, error) {
	var usage float64
	if err := e.row(ctx, []any{&usage}, "SELECT pg_catalog.pg_notification_queue_usage()"); err != nil {
		return Check{}, err
	}
	if usage < 0.05 {
		return fine("the notification queue is %.1f%% full", usage*100), nil
	}
	open, err := e.openTransactions(ctx, true)
	if err != nil {
		return Check{}, err
	}
	return judgeNotifications(usage, open), nil
}

func judgeNotifications(usage float64, open []openTransaction) Check {
	found := warn("the notification queue is %.0f%% full", usage*100)
	if usage >= 0.5 {
		found = failed("the notification queue is %.0f%% full: emissions go without a NOTIFY, and when it is full, commits that notify fail", usage*100)
	}
	var details []string
	for _, t := range open {
		details = append(details, t.String())
	}
	return found.with(details).so("end the listening session that has been in a transaction for long", terminate(open))
}
