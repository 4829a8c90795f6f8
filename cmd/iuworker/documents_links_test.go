package main

import (
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/metrics"
)

var (
	documentLink    = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"`)
	documentHeading = regexp.MustCompile(`(?m)^#{1,6} +(.+?)\s*$`)
	fencedBlock     = regexp.MustCompile("(?ms)^[ \t]*```.*?\n[ \t]*```[ \t]*$")
	codeSpan        = regexp.MustCompile("`[^`\n]*`")
)

// Every link within the repository leads to an existing file and heading.
func TestLinksOfTheDocuments(t *testing.T) {
	t.Parallel()
	files := sources(t, ".md")
	listed := map[string]bool{}
	for _, document := range documents {
		listed[document.name] = true
	}
	for name, text := range files {
		require.True(t, listed[name], "%s is not in the list of documents", name)
		for _, found := range documentLink.FindAllStringSubmatch(codeSpan.ReplaceAllString(fencedBlock.ReplaceAllString(text, ""), ""), -1) {
			checkLink(t, files, name, found[1]+found[2])
		}
	}
	index := files["README.md"]
	for name := range listed {
		if strings.HasPrefix(name, "docs/") {
			require.Contains(t, index, "]("+name+")", "README's index leaves a document out")
		}
	}
}

func checkLink(t testing.TB, files map[string]string, from, link string) {
	t.Helper()
	target, err := url.Parse(link)
	require.NoError(t, err, "%s: %s", from, link)
	if target.Scheme != "" || target.Host != "" {
		require.Contains(t, []string{"https", "http"}, target.Scheme, "%s: %s", from, link)
		return
	}
	name := from
	if target.Path != "" {
		name = path.Join(path.Dir(from), target.Path)
		_, err := os.Stat(inRepository(name))
		require.NoError(t, err, "%s: %s leads nowhere", from, link)
	}
	if target.Fragment != "" {
		require.Contains(t, anchors(files[name]), target.Fragment, "%s: %s leads to no heading of %s", from, link, name)
	}
}

// anchors returns the anchors that GitHub gives to headings.
func anchors(text string) (names []string) {
	seen := map[string]bool{}
	for _, heading := range documentHeading.FindAllStringSubmatch(fencedBlock.ReplaceAllString(text, ""), -1) {
		name := strings.ToLower(heading[1])
		name = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(name, "")
		name = strings.ReplaceAll(name, " ", "-")
		if !seen[name] {
			names = append(names, name)
		}
		seen[name] = true
	}
	return names
}

// Every alert links to a section of the runbook.
func TestAlertsLeadIntoTheRunbook(t *testing.T) {
	t.Parallel()
	const runbook = "runbook_url: https://github.com/iu-core/iuworker/blob/main/docs/operate.md#"
	text, err := os.ReadFile(inRepository("docs/operate.md"))
	require.NoError(t, err)
	sections := anchors(string(text))
	links := strings.Split(metrics.Alerts, runbook)
	require.Len(t, links, strings.Count(metrics.Alerts, "- alert: ")+1)
	for _, link := range links[1:] {
		section, _, _ := strings.Cut(link, "\n")
		require.Contains(t, sections, section)
	}
}
