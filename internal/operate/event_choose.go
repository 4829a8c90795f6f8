package operate

import (
	"context"
	"fmt"
	"slices"
)

// states returns the states whose events a change is for.
func (c EventChange) states() []string {
	if c == EventCancel {
		return []string{EventWaiting, EventWorking, EventParked}
	}
	return []string{EventDead}
}

// Takes reports whether a change is for this event, and returns the id that it takes: of a dead letter, or of a job.
func (c EventChange) Takes(e *EventRow) (id int64, ok bool) {
	if !slices.Contains(c.states(), e.State) {
		return 0, false
	}
	taken := e.DeadLetterID
	if c == EventCancel {
		taken = e.JobID // rows of the outbox are jobs within a second
	}
	if taken == nil {
		return 0, false
	}
	return *taken, true
}

// chosenAtOnce is how many events are read at once to choose them.
const chosenAtOnce = 1000

// ChooseEvents returns the ids that a change takes of up to limit events that a filter chooses, the latest first: of dead
// letters, or of jobs. complete is false if the search ended before all events were seen, because few of very many match.
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

// maxChoosePages bounds how much ChooseEvents reads of each state.
const maxChoosePages = 50
