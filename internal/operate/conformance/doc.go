// Package conformance checks iu-core: Scan compares its objects with those that it should have, and Selftest runs twelve probes
// of auto-instantiation, each in a transaction that is rolled back.
package conformance
