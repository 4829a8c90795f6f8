// Package subscribe gives the events iu.template.instance_auto_composed to Go programs: from any place in their history
// on, in the order of their positions, and each one at least once.
package subscribe
