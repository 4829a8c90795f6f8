package pgserver

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// repository serves an archive of links to the installed binaries, so that what is downloaded runs.
func repository(t *testing.T, requests *atomic.Int64) string {
	t.Helper()
	bin := Find(t.Context())
	require.NotEmpty(t, bin, "the tests need an installed PostgreSQL")
	var archive bytes.Buffer
	files := tar.NewWriter(&archive)
	for _, name := range []string{"postgres", "initdb", "pg_ctl"} {
		require.NoError(t, files.WriteHeader(&tar.Header{
			Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: filepath.Join(bin, name),
		}))
	}
	require.NoError(t, files.Close())

	var jar bytes.Buffer
	parts := zip.NewWriter(&jar)
	part, err := parts.Create("postgres.txz")
	require.NoError(t, err)
	_, err = part.Write(xz(archive.Bytes()))
	require.NoError(t, err)
	require.NoError(t, parts.Close())

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if filepath.Ext(r.URL.Path) != ".jar" {
			http.NotFound(w, r)
			return
		}
		requests.Add(1)
		_, _ = w.Write(jar.Bytes()) // the client may have left
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// xz wraps data in the xz format, uncompressed: at most 64 kB, in one LZMA2 chunk, without a check.
func xz(data []byte) []byte {
	checked := func(part []byte) []byte { return binary.LittleEndian.AppendUint32(part, crc32.ChecksumIEEE(part)) }
	varint := func(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }
	padded := func(part []byte) []byte { return append(part, make([]byte, (4-len(part)%4)%4)...) }

	flags := []byte{0, 0} // no check
	header := checked([]byte{2, 0, 0x21, 1, 0x16, 0, 0, 0})
	chunk := binary.BigEndian.AppendUint16([]byte{1}, uint16(len(data)-1))
	chunk = append(append(chunk, data...), 0)
	index := append([]byte{0, 1}, varint(len(header)+len(chunk))...)
	index = checked(padded(append(index, varint(len(data))...)))
	backward := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	footer := slices.Concat(backward, flags)

	out := append([]byte("\xFD7zXZ\x00"), checked(flags)...)
	out = append(append(append(out, header...), padded(chunk)...), index...)
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(footer))
	return append(append(out, footer...), 'Y', 'Z')
}

func TestDownload(t *testing.T) {
	t.Parallel()
	as, err := serverAccount()
	require.NoError(t, err)
	var requests atomic.Int64
	source := download{repository: repository(t, &requests), directory: openDir(t)}

	var programs sync.WaitGroup
	for range 3 {
		programs.Go(func() {
			bin, err := source.fetch(t.Context(), quiet(), as)
			if err != nil || !exists(filepath.Join(bin, "postgres")) {
				t.Errorf("fetched into %q: %v", bin, err)
			}
		})
	}
	programs.Wait()
	require.EqualValues(t, 1, requests.Load(), "programs that start together download once")
	left, err := filepath.Glob(filepath.Join(source.directory, "download-*"))
	require.NoError(t, err)
	require.Empty(t, left)

	bin, err := source.fetch(t.Context(), quiet(), as)
	require.NoError(t, err)
	s := start(t, Config{BinDir: bin})
	require.Equal(t, 1, value[int](t, s, "SELECT 1"))
}

func TestDownloadFails(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	source := download{repository: server.URL, directory: openDir(t)}

	_, err := source.fetch(t.Context(), quiet(), nil)
	require.ErrorContains(t, err, "download PostgreSQL")
	left, err := filepath.Glob(filepath.Join(source.directory, "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(source.directory, "download.lock")}, left)

	server.Close()
	_, err = source.fetch(t.Context(), quiet(), nil)
	require.ErrorContains(t, err, "unable to connect")
}

func TestDownloadCancelled(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}, 1), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	_, err := download{repository: server.URL, directory: openDir(t)}.fetch(ctx, quiet(), nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestOpenToAll(t *testing.T) {
	t.Parallel()
	tree := filepath.Join(openDir(t), "tree")
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "bin"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "bin", "postgres"), nil, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "readme"), nil, 0o600))
	require.NoError(t, openToAll(tree))
	for path, mode := range map[string]os.FileMode{".": 0o755, "bin": 0o755, "bin/postgres": 0o755, "readme": 0o644} {
		info, err := os.Stat(filepath.Join(tree, path))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), path)
	}
}
