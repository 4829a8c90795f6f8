// Command iuworker composes instances from templates when applications say that something happened.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)                            // the second signal finds its default action again: the end
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // a closed pipe fails the write, instead of ending the program
	os.Exit(Run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}
