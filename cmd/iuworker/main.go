// Command iuworker composes instances from templates when applications insert events.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		endBy(<-signals)
	}()
	endAtHangup(cancel)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // a closed pipe fails the write, instead of ending the program
	os.Exit(Run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// endBy ends the program at once, by the default action of the signal.
func endBy(s os.Signal) {
	signal.Reset(s)
	if number, ok := s.(syscall.Signal); ok && syscall.Kill(os.Getpid(), number) == nil {
		return
	}
	os.Exit(1)
}
