package eventstream

import (
	"net/http"
	"time"
)

func init() { startTimeout = 90 * time.Second } //nolint:gochecknoinits // it applies to all tests

// CheckRequest returns what is wrong with the parameters of a request.
func CheckRequest(r *http.Request) error {
	_, _, err := readRequest(r, time.Now())
	return err
}
