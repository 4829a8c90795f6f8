package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documents lists all documents in the order in which TestDocumentsAreTrue follows them; TestQuickStart follows the first one.
// The number is that of the blocks that no test runs.
var documents = []struct {
	name   string
	notRun int
}{
	{name: "README.md"},
	{name: "docs/deploy.md", notRun: 1},
	{name: "docs/databases.md", notRun: 1},
	{name: "docs/producers.md"},
	{name: "docs/scaleout.md"},
	{name: "docs/subscribers.md", notRun: 2},
	{name: "docs/publish.md"},
	{name: "docs/scale.md"},
	{name: "docs/operate.md", notRun: 1},
	{name: "docs/ha.md"},
	{name: "docs/configure.md"},
	{name: "docs/adopt.md"},
	{name: "docs/states.md"},
	{name: "docs/reference.md"},
	{name: "docs/performance.md"},
	{name: "docs/reliability.md"},
	{name: "OPERATIONS.md"},
	{name: "CONTRIBUTING.md"},
	{name: "CHANGELOG.md"},
}

// A block of a document. Its first line is a language, then one of these, which say what the tests do with it:
//
//	sql run, sh run    run it on one database, in the documents' order; it must not fail
//	… run await        the same, repeated until it does not fail and prints the output that follows, if any
//	sh start           start it, and leave it running until the documents end
//	… out              what the block before it prints, except for ids, times and column widths. A line that is … stands
//	                   for any lines, and … at the end of a line for the rest of it
//	… out started      what the last started block has printed by now, among other lines
//	… from=FILE        it is in that file of the repository, which a test compiles and runs
//	… test=NAME        the test of that name reads it from the document and uses it
//	… not-run: WHY     nothing runs it; such blocks are counted above
type block struct {
	at   string // document and line
	info []string
	text string
}

func (b block) is(word string) bool { return slices.Contains(b.info, word) }

// value returns the text after name= in the block's first line.
func (b block) value(name string) (string, bool) {
	for _, word := range b.info {
		if value, found := strings.CutPrefix(word, name+"="); found {
			return value, true
		}
	}
	return "", false
}

// inRepository returns the path of a file of the repository.
func inRepository(name string) string { return filepath.Join("..", "..", filepath.FromSlash(name)) }

func readDocument(t testing.TB, name string) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile(inRepository(name))
	require.NoError(t, err)
	var current *block
	var indent string // of a block in a list
	for i, line := range strings.Split(string(text), "\n") {
		before, fence, isFence := strings.Cut(line, "```")
		isFence = isFence && strings.TrimSpace(before) == ""
		switch {
		case isFence && current == nil:
			current, indent = &block{at: fmt.Sprintf("%s:%d", name, i+1), info: strings.Fields(fence)}, before
		case isFence:
			blocks = append(blocks, *current)
			current = nil
		case current != nil:
			current.text += strings.TrimPrefix(line, indent) + "\n"
		}
	}
	require.Nil(t, current, "%s has a block without an end", name)
	return blocks
}

// blocksFor returns the blocks that a document marks for a test, at least one.
func blocksFor(t testing.TB, test string) (blocks []block) {
	t.Helper()
	for _, document := range documents {
		for _, b := range readDocument(t, document.name) {
			if name, _ := b.value("test"); name == test {
				blocks = append(blocks, b)
			}
		}
	}
	require.NotEmpty(t, blocks, "no document has a block with test=%s", test)
	return blocks
}

// Each block is run or compared, or says why not.
func TestEveryBlockOfTheDocumentsIsUsed(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{}
	for _, text := range sources(t, "_test.go") {
		for _, found := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(text, -1) {
			tests[found[1]] = true
		}
	}
	for _, document := range documents {
		notRun := 0
		for i, b := range readDocument(t, document.name) {
			require.NotEmpty(t, b.info, "%s: the block has no language", b.at)
			require.NotContains(t, []string{"run", "out"}, b.info[0], "%s: the block has no language", b.at)
			name, isTest := b.value("test")
			file, isFrom := b.value("from")
			switch {
			case b.is("not-run:"):
				notRun++
				require.NotEqual(t, "not-run:", b.info[len(b.info)-1], "%s: say why not", b.at)
			case isTest:
				require.True(t, tests[name], "%s: there is no test %s", b.at, name)
			case isFrom:
				text, err := os.ReadFile(inRepository(file))
				require.NoError(t, err, b.at)
				require.Contains(t, string(text), b.text, "%s: %s has other code", b.at, file)
			case b.is("out"):
				require.Positive(t, i, "%s: nothing printed it", b.at)
			default:
				require.True(t, b.is("run") || b.is("start"), "%s: nothing uses the block; its first line is %s", b.at, b.info)
				require.Contains(t, []string{"sql", "sh"}, b.info[0], "%s: a block of that language cannot be run", b.at)
			}
		}
		require.Equal(t, document.notRun, notRun, "%s: blocks that nothing runs", document.name)
	}
}

// sources returns the texts of the repository's files whose names end in suffix, except those that tests use.
func sources(t testing.TB, suffix string) map[string]string {
	t.Helper()
	files := map[string]string{}
	root := inRepository(".")
	require.NoError(t, filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != root && strings.HasPrefix(name, ".") || name == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, suffix) {
			return nil
		}
		text, err := os.ReadFile(path) //nolint:gosec // a file of this repository
		at, relErr := filepath.Rel(root, path)
		files[filepath.ToSlash(at)] = string(text)
		return cmp.Or(err, relErr)
	}))
	return files
}
