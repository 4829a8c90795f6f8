package pgserver

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

const (
	loopback = "127.0.0.1"

	// Ports below those that systems give to outgoing connections (from 32768 on): one of these could take
	// the port while the server is restarting.
	lowestPort  = 20000
	highestPort = 32000

	socketPort = 5432 // names the socket's file only
)

// freePort returns a loopback port that nobody listens on.
func freePort(ctx context.Context) (int, error) {
	for range 100 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if portFree(ctx, port) {
			return port, nil
		}
	}
	return 0, errors.New("find a free port on " + loopback + ": a hundred were taken")
}

func portFree(ctx context.Context, port int) bool {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
