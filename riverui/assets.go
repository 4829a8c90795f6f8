package webui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"time"
)

//go:embed assets
var assetFiles embed.FS

// asset serves a file of this binary; the browser asks again each time and gets it when the program changed.
func (h *Handler) asset(w http.ResponseWriter, r *http.Request) {
	content, err := assetFiles.ReadFile("assets/" + r.PathValue("name"))
	if err != nil {
		h.say(w, r, http.StatusNotFound, "there is nothing at %s", printable(r.URL.Path))
		return
	}
	sum := sha256.Sum256(content)
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(r.URL.Path)))
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
