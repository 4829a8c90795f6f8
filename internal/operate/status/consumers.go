package status

import (
	"fmt"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// JudgeConsumer returns whether a consumer needs attention, and why in a few words; "" if it does not.
func JudgeConsumer(c subscribe.Consumer) (result operate.Health, says string) {
	late := c.LagEvents != nil && *c.LagEvents > 0 && c.LagSeconds != nil
	switch {
	case c.State == "pruned":
		return operate.HealthFail, "events that it has not handled were pruned"
	case c.State != "ok":
		return operate.HealthFail, fmt.Sprintf("its position was lost in a restore or failover (%s)", c.State)
	case c.Expiring && c.ExpiresSeconds != nil:
		return operate.HealthWarn, fmt.Sprintf("no process, and what it has not handled is deleted in %s", operate.Lasted(*c.ExpiresSeconds))
	case c.LastError != nil && (c.Tries > 0 || late):
		return operate.HealthWarn, fmt.Sprintf("its last event failed: %.200s", *c.LastError)
	case late && *c.LagSeconds > 60 && c.Process == nil:
		return operate.HealthWarn, fmt.Sprintf("%s behind for %s, no process", operate.Thousands(*c.LagEvents), operate.Lasted(*c.LagSeconds))
	case late && *c.LagSeconds > 300:
		return operate.HealthWarn, fmt.Sprintf("%s behind for %s", operate.Thousands(*c.LagEvents), operate.Lasted(*c.LagSeconds))
	case c.DeadLetters > 0:
		return operate.HealthWarn, fmt.Sprintf("%d events became its dead letters", c.DeadLetters)
	}
	return operate.HealthOK, ""
}
