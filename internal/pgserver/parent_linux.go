package pgserver

import "syscall"

// endWithParent makes the kernel ask the process for a fast shutdown when this program ends.
func endWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGINT }
