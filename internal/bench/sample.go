package bench

import (
	"fmt"
	"slices"
	"time"
)

// Sample is the values of a measurement and its repetitions.
type Sample struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Values []float64 `json:"values"` // in the order in which they were measured
}

func sampleOf(values []float64) Sample {
	if len(values) == 0 {
		return Sample{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return Sample{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1], Values: values}
}

// cell returns the median, and the range of several values; "" if there is no sample.
func (s *Sample) cell() string {
	switch {
	case s == nil || len(s.Values) == 0:
		return ""
	case len(s.Values) == 1:
		return number(s.Median)
	}
	return fmt.Sprintf("%s [%s..%s]", number(s.Median), number(s.Min), number(s.Max))
}

// spread returns the range of the values as a fraction of their median.
func (s Sample) spread() float64 {
	if s.Median == 0 {
		return 0
	}
	return (s.Max - s.Min) / s.Median
}

// ratios divides pair by pair: the measurements of a pair met the same load of the machine.
func ratios(values, references []float64) []float64 {
	var out []float64
	for i := range min(len(values), len(references)) {
		if references[i] != 0 {
			out = append(out, values[i]/references[i])
		}
	}
	return out
}

// percentile returns the p-th percentile in milliseconds, 0 if there are no durations.
func percentile(durations []time.Duration, p float64) float64 {
	if len(durations) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(durations))
	at := min(int(p/100*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[at].Microseconds()) / 1000
}
