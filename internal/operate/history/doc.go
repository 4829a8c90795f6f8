// Package history reads what happened, minute by minute, up to seven days back.
//
//	Read                 a Point for each step, and the marks that explain them
//	Consumers            how far behind consumers were
//	Templates, Template  what was made of the templates that were used most, or of one
//	ReadPaces            how fast events go through now, and at the same time yesterday
//
// Workers write the minutes (iu_outbox.write_history). A minute that nobody wrote is a gap. Minutes that are not written yet are
// counted when they are read.
package history
