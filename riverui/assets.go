package webui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"time"
)

//go:embed assets
var assetFiles embed.FS

// assets are the files below /assets/: the styles in the order of their names make one file, and so do the scripts. Each
// script has a scope of its own.
var assets = map[string][]byte{
	"page.css": together("assets/style", "", "\n"),
	"page.js":  append([]byte("\"use strict\";\n"), together("assets/script", "{\n", "}\n")...),
	"icon.svg": together("assets/icon.svg", "", ""),

	// The frame around River UI: it must not change River UI's own styles.
	"river.css": together("assets/river/river.css", "", ""),
	"river.js":  together("assets/river/river.js", "", ""),
}

func together(at, before, after string) []byte {
	var all bytes.Buffer
	err := fs.WalkDir(assetFiles, at, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := assetFiles.ReadFile(file)
		all.WriteString(before)
		all.Write(content)
		all.WriteString(after)
		return err
	})
	if err != nil {
		panic(err) // the files are in the binary
	}
	return all.Bytes()
}

// asset serves a file of this binary. The browser revalidates it each time, and gets it again after the program changed.
func (h *Handler) asset(w http.ResponseWriter, r *http.Request) {
	content, ok := assets[r.PathValue("name")]
	if !ok {
		h.say(w, r, http.StatusNotFound, "there is nothing at %s", printable(r.URL.Path))
		return
	}
	sum := sha256.Sum256(content)
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(r.URL.Path)))
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// favicon serves programs that request an icon without reading a page.
func (h *Handler) favicon(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, h.at("assets/icon.svg"), http.StatusMovedPermanently)
}
