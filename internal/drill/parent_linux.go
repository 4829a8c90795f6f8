package drill

import "syscall"

// endWithParent makes the kernel kill the process when this program ends.
func endWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGKILL }
