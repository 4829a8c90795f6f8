//go:build !linux

package pgserver

import "syscall"

// endWithParent does nothing: this kernel does not signal children. The next start cleans up.
func endWithParent(*syscall.SysProcAttr) {}
