package pgserver

import "syscall"

// endWithParent has the kernel ask the process for a fast shutdown when this program is gone.
func endWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGINT }
