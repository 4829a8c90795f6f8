//go:build !linux

package pgserver

import "syscall"

// endWithParent does nothing: this kernel does not tell children; the next start cleans up.
func endWithParent(*syscall.SysProcAttr) {}
