// Package history reads what happened, minute by minute, up to seven days back.
//
//	Read                 a Point for each step, and the marks that explain them
//	Consumers            how far behind consumers were
//	Templates, Template  what was composed of the templates with the most events, or of one
//	ReadPaces            how fast events go through now, and at the same time yesterday
//
// Workers write a row per minute (iu_outbox.write_history). A minute without a row is a gap. The minutes whose rows are not written yet
// are counted by the reader.
package history
