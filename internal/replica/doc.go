// Package replica chooses where to read: on a hot standby, or on its primary while the standby cannot be read or is too far
// behind.
//
//	primary ──how far has it written?──┐
//	                                   ├──▶ Reader.Pool: the standby, or the primary
//	standby ──how far has it replayed?─┘
//
// The lag is how long ago this process first saw the primary at a place in its log that the standby has not replayed. So it needs
// no synchronous clocks, the standby of an idle primary has no lag, and one that lost its primary has. A reader of the history
// may change from one to the other at any time: package subscribe says why.
//
//	failure                             what happens then
//	standby away                        reads go to the primary, until the standby has been back for two checks
//	standby too far behind              the same, until its lag is half of the limit
//	standby of another server           the same
//	primary away                        reads stay on the standby
//	both away                           reads go to the standby, and fail there
//	server does not reveal its log      the lag is unknown; reads stay on the standby
package replica
