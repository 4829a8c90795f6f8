package iusql

// findings are what preflight found of iu-core.
type findings struct {
	core        bool // a baseline is there, complete
	instantiate bool // a 033 is there, complete
}
