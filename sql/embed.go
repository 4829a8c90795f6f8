package iusql

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// Files holds the SQL files, under their names in this folder. Each also runs under psql -v ON_ERROR_STOP=1 -f.
//
//go:embed iu-core iu-outbox ops
var Files embed.FS

const (
	baselineFile      = "iu-core/032_iu_core_baseline.sql"
	instantiateFile   = "iu-core/033_auto_instantiate_from_event.sql"
	uninstantiateFile = "iu-core/rollback/033_auto_instantiate_from_event.rollback.sql"
	conformanceFile   = "iu-core/runtime/110_iu_core_dot_conformance_scan.sql"
	outboxFile        = "iu-outbox/034_outbox.sql"
	unoutboxFile      = "iu-outbox/rollback/034_outbox.rollback.sql"
	sharedFile        = "iu-outbox/036_shared_database.sql"
	unsharedFile      = "iu-outbox/rollback/036_shared_database.rollback.sql"
	functionsFolder   = "iu-outbox/functions/"
	functionsFile     = functionsFolder + "install.sql"
	selftestFile      = "ops/02_auto_instantiate_productization_proof.sql"
)

// Conformance returns the text of D9, which compares a database with the list of what iu-core consists of.
func Conformance() string { return text(conformanceFile) }

// Selftest returns the text of the twelve probes.
func Selftest() string { return text(selftestFile) }

// text returns an embedded file. It panics if there is none, which is a bug of this package.
func text(name string) string {
	content, err := Files.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("iusql: %v", err))
	}
	return string(content)
}

// body returns a file without the lines BEGIN; and COMMIT;, for a transaction that also records that the file ran.
func body(name string) string {
	lines := strings.SplitAfter(text(name), "\n")
	kept := lines[:0]
	for _, line := range lines {
		switch strings.TrimSpace(line) {
		case "BEGIN;", "COMMIT;":
		default:
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// functions returns the files that Up installs again if they changed, in the order of functionsFile.
func functions() []string {
	var names []string
	for line := range strings.Lines(text(functionsFile)) {
		if name, found := strings.CutPrefix(line, `\ir `); found {
			names = append(names, functionsFolder+strings.TrimSpace(name))
		}
	}
	return names
}

// Triggers returns the triggers that the functions' files create, as "SCHEMA.TABLE: NAME". No event gets through without them.
func Triggers() []string {
	var all []string
	for _, file := range functions() {
		for _, found := range trigger.FindAllStringSubmatch(text(file), -1) {
			all = append(all, found[2]+": "+found[1])
		}
	}
	return all
}

var trigger = regexp.MustCompile(`CREATE OR REPLACE TRIGGER (\w+)\s+[^;]*? ON (\S+)`)

// functionsHash returns a digest of the functions' files and their names.
var functionsHash = sync.OnceValue(func() string {
	digest := sha256.New()
	for _, name := range functions() {
		fmt.Fprintf(digest, "%s\n%s\n", name, text(name))
	}
	return hex.EncodeToString(digest.Sum(nil))
})
