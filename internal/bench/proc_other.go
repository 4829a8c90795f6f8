//go:build !linux

package bench

import (
	"context"
	"errors"
	"time"
)

var errNoProc = errors.New("only Linux tells")

func ownCPU() (time.Duration, error) { return 0, errNoProc }

func ownRSS() int64 { return 0 }

func loadAverage() string { return "" }

func (s *scratch) postmaster(context.Context) (int, error) { return 0, nil }

func serverCPU(int) (time.Duration, error) { return 0, errNoProc }
