package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the unprivileged user that the server runs as; nil is the user who runs this program.
type account struct {
	name     string
	uid, gid uint32
}

// serverAccount returns nil unless the program runs as root.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil // nil is a valid account
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("read the ids of user %s: %w", name, err)
		}
		if uid != 0 {
			return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody " +
		"to run it as: create one, or run this program as an ordinary user")
}

// attributes makes a process run under the account's ids without supplementary groups, and lead a session of its own, so that
// neither Ctrl-C nor a closed terminal reaches it.
func (a *account) attributes() *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setsid: true}
	if a != nil {
		attributes.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attributes
}

// own gives a path to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	if err := os.Lchown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("give %s to user %s: %w", path, a.name, err)
	}
	return nil
}

// reaches returns an error if the account cannot enter or execute path, for example because it lies in root's home. It does not
// check for the user who runs this program.
func (a *account) reaches(path string) error {
	if a == nil {
		return nil
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("find %s: %w", path, err)
	}
	for child := ""; resolved != child; child, resolved = resolved, filepath.Dir(resolved) {
		info, err := os.Stat(resolved)
		if err != nil {
			return fmt.Errorf("inspect %s: %w", resolved, err)
		}
		if !a.mayExecute(info) {
			return fmt.Errorf("%s is closed to user %s", resolved, a.name)
		}
	}
	return nil
}

// explain adds what to do if a container without CAP_SETUID refuses to run a program as the account.
func (a *account) explain(err error) error {
	if a != nil && errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("run PostgreSQL as user %s, since it does not run as root: %w: "+
			"run this program as an ordinary user, or give the URL of a database", a.name, err)
	}
	return err
}

func (a *account) mayExecute(info os.FileInfo) bool {
	mode := info.Mode().Perm()
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case ok && owner.Uid == a.uid:
		return mode&0o100 != 0
	case ok && owner.Gid == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}
