//go:build !linux

package drill

import "syscall"

// endWithParent does nothing: this kernel does not signal children. They end when the database is gone.
func endWithParent(*syscall.SysProcAttr) {}
