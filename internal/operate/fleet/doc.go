// Package fleet has what the workers report of themselves: Report stores a worker's settings and load, Read returns those of
// all workers.
package fleet
