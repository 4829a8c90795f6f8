package webui

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/iu-core/iuworker/docs/api"
)

// openPaths returns what is served without a guard: the probes, and to handlers with pages the documents for programs, which tell
// nothing of an installation.
func (h *Handler) openPaths() map[string]http.HandlerFunc {
	paths := map[string]http.HandlerFunc{"/healthz": h.probes.alive, "/readyz": h.probes.serveReady}
	if h.serves == servingPages {
		for _, document := range api.Documents() {
			paths["/v1/"+document.Name] = describes(document)
		}
	}
	return paths
}

// describes serves a document. It changes with the program, so that caches may keep it for some minutes.
func describes(document api.Document) http.HandlerFunc {
	sum := sha256.Sum256(document.Text)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", document.MediaType)
		w.Header().Set("Cache-Control", "public, max-age=300")
		w.Header().Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(document.Text))
	}
}
