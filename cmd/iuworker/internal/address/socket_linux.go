package address

import (
	"errors"
	"fmt"
	"net"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// peersKnown is true if the system identifies the process at the other end of a socket.
const peersKnown = true

// userTimeout returns a dialer's control that sets how long sent data may stay unacknowledged.
func userTimeout(milliseconds int) func(network, address string, conn syscall.RawConn) error {
	return func(network, _ string, conn syscall.RawConn) (err error) {
		if network == "unix" {
			return nil
		}
		failed := conn.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, milliseconds)
		})
		if failed != nil {
			return failed
		}
		return err
	}
}

// checkPeer fails unless the server at the other end of a socket runs as the user that requirepeer names.
func checkPeer(conn net.Conn, want string) error {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("requirepeer: %w", err)
	}
	var peer *unix.Ucred
	failed := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if failed != nil || err != nil {
		return fmt.Errorf("requirepeer: the user at the other end of the socket is not known: %w", errors.Join(failed, err))
	}
	is, err := user.LookupId(strconv.FormatUint(uint64(peer.Uid), 10))
	if err != nil {
		return fmt.Errorf("requirepeer: %w", err)
	}
	if is.Username != want {
		return fmt.Errorf("requirepeer: the server runs as %s, which is not the user that is required", is.Username)
	}
	return nil
}
