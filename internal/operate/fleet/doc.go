// Package fleet has what the workers report about themselves: Report stores a worker's settings and load, Read returns those of
// all workers.
package fleet
