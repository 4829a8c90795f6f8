// Package spelling finds the word that a mistyped one most likely means.
package spelling

import "slices"

// Nearest returns the word that typed becomes with the fewest edits; "" if each needs more edits than a third of typed.
func Nearest(typed string, words []string) string {
	best, least := "", max(len([]rune(typed))/3, 1)+1
	for _, word := range words {
		if n := edits(typed, word); n < least {
			best, least = word, n
		}
	}
	return best
}

// edits returns how many characters must be inserted, removed, replaced or swapped with the next to turn one word into another.
func edits(from, to string) int {
	a, b := []rune(from), []rune(to)
	var before, above []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := above[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = slices.Min([]int{above[j] + 1, row[j-1] + 1, replace})
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
