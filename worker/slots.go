package worker

import (
	"slices"
	"time"
)

const (
	slotsKept    = 20 // of each kind: the judgement is about the last of them
	slotsAtLeast = 5  // of each kind, or there is no judgement
	slotsToProbe = 10

	// aftermath is how long River still completes jobs after a turn.
	aftermath = 20 * time.Millisecond

	// Producers are held up where they insert less than enterBelow of what they insert while the process rests, and
	// free where they insert more than leaveAbove of that while it works.
	enterBelow, leaveAbove = 0.75, 0.9
)

// slots are the rates, in rows a second, at which producers inserted in turns of a process that makes room, and in
// short times in which it rested.
type slots struct {
	atWork, atRest recent
}

// add takes in the time between two looks if the process rested.
func (s *slots) add(from, to look) {
	if to.worked == from.worked && from.at.Sub(to.changed) > aftermath {
		s.atRest.add(rate(from, to))
	}
}

func (s *slots) clear() {
	s.atWork.clear()
	s.atRest.clear()
}

// heldUp reports whether producers insert less at a usual rate than while the process rests. The usual rate is one over all
// of the time, not the part that the process worked: it does so after commits, when the next transaction of a producer may
// only have begun. And where rows come in lumps, one in a rest says nothing: the median leaves them out.
func (s *slots) heldUp(usualRate float64) bool {
	return len(s.atRest) >= slotsToProbe && s.atRest.median() >= busyRate && usualRate < enterBelow*s.atRest.mean()
}

// free reports whether producers insert as much while the process works, at times of its own choice, as while it rests.
func (s *slots) free() bool {
	return len(s.atWork) >= slotsAtLeast && len(s.atRest) >= slotsAtLeast && s.atWork.median() > leaveAbove*s.atRest.median()
}

// recent is the last few of some numbers.
type recent []float64

func (r *recent) add(v float64) {
	if len(*r) == slotsKept {
		*r = slices.Delete(*r, 0, 1)
	}
	*r = append(*r, v)
}

func (r *recent) clear() { *r = (*r)[:0] }

// median answers 0 where there is none.
func (r recent) median() float64 {
	if len(r) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r))
	return sorted[len(sorted)/2]
}

func (r recent) mean() float64 {
	sum := 0.0
	for _, v := range r {
		sum += v
	}
	return sum / float64(max(1, len(r)))
}
