package operate

import (
	"context"
	"fmt"
	"slices"
)

// states returns the states of the events that a change applies to.
func (c EventChange) states() []string {
	if c == EventCancel {
		return []string{EventWaiting, EventWorking, EventParked}
	}
	return []string{EventDead}
}

// Takes reports whether a change applies to this event, and returns the id of its dead letter or of its job.
func (c EventChange) Takes(e *EventRow) (id int64, ok bool) {
	if !slices.Contains(c.states(), e.State) {
		return 0, false
	}
	taken := e.DeadLetterID
	if c == EventCancel {
		taken = e.JobID // a row of the outbox becomes a job within a second
	}
	if taken == nil {
		return 0, false
	}
	return *taken, true
}

// chosenAtOnce is how many events ChooseEvents reads at once.
const chosenAtOnce = 1000

// ChooseEvents returns the ids of the dead letters or jobs of up to limit events that match a filter and that a change applies to,
// latest first. complete is false if the search ended before it had seen all events, because few of very many match.
func ChooseEvents(ctx context.Context, db Beginner, filter EventFilter, change EventChange, limit int) (ids []int64, complete bool, err error) {
	for _, state := range change.states() {
		if filter.State != "" && filter.State != state {
			continue
		}
		of := filter
		of.State = state
		place := ""
		for pages := 0; ; pages++ {
			if pages == maxChoosePages {
				return ids, false, nil
			}
			page, err := Events(ctx, db, of, place, chosenAtOnce)
			if err != nil {
				return nil, false, fmt.Errorf("choose events to %s: %w", change, err)
			}
			for i := range page.Events {
				id, ok := change.Takes(&page.Events[i])
				if !ok {
					continue
				}
				if len(ids) == limit {
					return ids, true, nil
				}
				ids = append(ids, id)
			}
			if place = page.Older; place == "" {
				break
			}
		}
	}
	return ids, true, nil
}

// maxChoosePages is the most pages that ChooseEvents reads for each state.
const maxChoosePages = 50
