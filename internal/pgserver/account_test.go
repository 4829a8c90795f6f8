package pgserver

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// An ordinary user's server runs as that user. If the tests run as root, the program runs as nobody.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"plain", "standby"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dir := openDir(t)
			temp := filepath.Join(dir, "tmp")
			require.NoError(t, os.Mkdir(temp, 0o700))
			cmd := command(t, selfIn(t, dir), mode, temp)
			if os.Geteuid() == 0 {
				nobody := &account{name: "nobody", uid: 65534, gid: 65534}
				require.NoError(t, nobody.own(temp))
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody.uid, Gid: nobody.gid}}
			}
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Len(t, lines(string(out)), 2)
			require.Equal(t, temp, filepath.Dir(filepath.Dir(lines(string(out))[0])), "in the user's own TMPDIR")
		})
	}
}

func TestReaches(t *testing.T) {
	t.Parallel()
	somebody := &account{name: "somebody", uid: 12345, gid: 12345}
	dir := openDir(t)
	require.NoError(t, somebody.reaches(dir))

	inner := filepath.Join(dir, "closed", "inner")
	require.NoError(t, os.MkdirAll(inner, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(inner), 0o700))
	require.ErrorContains(t, somebody.reaches(inner), "closed is closed to user somebody")
	require.ErrorIs(t, somebody.reaches(filepath.Join(dir, "missing")), os.ErrNotExist)

	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(inner, link))
	require.Error(t, somebody.reaches(link), "what counts is where it leads")

	var ourselves *account
	require.NoError(t, ourselves.reaches(inner))
}

func TestBaseDirectory(t *testing.T) {
	t.Parallel()
	as, err := serverAccount()
	require.NoError(t, err)

	temp := openDir(t)
	base, err := baseIn(temp, as)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(base, 0o777))
	again, err := baseIn(temp, as)
	require.NoError(t, err)
	require.Equal(t, base, again)
	info, err := os.Stat(base)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o066)

	squatted := openDir(t)
	require.NoError(t, os.Symlink(temp, filepath.Join(squatted, filepath.Base(base))))
	_, err = baseIn(squatted, as)
	require.ErrorContains(t, err, "is not a directory of this user")

	long := filepath.Join(temp, "a-directory-with-a-name-that-leaves-no-room-for-the-path-of-a-socket")
	require.NoError(t, os.Mkdir(long, 0o755))
	_, err = baseIn(long, as)
	require.ErrorContains(t, err, "too long")
}
