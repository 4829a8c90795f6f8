package drill

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

// crashLine begins what Go's runtime and its race detector write when a program is at fault.
var crashLine = regexp.MustCompile(`^(panic: |fatal error: |WARNING: DATA RACE)`)

// crashes finds processes that ended by a fault of their own.
func (in *installation) crashes() (found []Finding, err error) {
	for _, p := range in.processes {
		more, failed := crashesIn(filepath.Join(in.dir, p.name+".log"), p.name)
		found, err = append(found, more...), errors.Join(err, failed)
	}
	return found, err
}

func crashesIn(path, who string) (found []Finding, err error) {
	file, err := os.Open(path) //nolint:gosec // a log of ours
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	lines := bufio.NewReaderSize(file, 1<<16)
	for {
		line, _, err := lines.ReadLine() // the rest of a long line is taken for another, which does no harm
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		if crashLine.Match(line) {
			found = append(found, Finding{Kind: Crashed, Who: who, Problem: string(line)})
		}
	}
}
