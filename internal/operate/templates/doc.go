// Package templates finds templates by key or id and lists them, for commands (List, Show, Keys) and pages (ReadPage, Read,
// RecentInstances). operate.Operator changes them.
package templates
