//go:build oracle

package oracle

import (
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/pep508"
)

// fields takes a metadata file apart into what it says, whatever backend has spelled it, so that two can be compared. What
// says nothing of the project itself is left out: the version of the metadata, the program that wrote it, and fields that
// one backend adds and another does not.
func fields(name, text string) []string {
	switch path.Base(name) {
	case "METADATA":
		return metadataFields(text)
	case "WHEEL":
		return headerFields(text, "Generator")
	case "entry_points.txt":
		return entryPoints(text)
	}
	return []string{text}
}

func headerFields(text string, without ...string) []string {
	var all []string
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, ":")
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(without, name) {
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all
}

func metadataFields(text string) []string {
	head, body, _ := strings.Cut(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n")
	all := []string{"body " + strings.TrimSpace(body)}
	for line := range strings.Lines(head) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch name = strings.ToLower(name); name {
		case "metadata-version", "import-name", "dynamic":
			continue
		case "author", "author-email": // one field or two, the name quoted or not
			name, value = "author", strings.Trim(strings.ReplaceAll(value[strings.LastIndexByte(value, '<')+1:], ">", ""), `"`)
			if !strings.Contains(value, "@") {
				continue
			}
		case "requires-dist":
			if r, err := pep508.ParseRequirement(value); err == nil {
				value = r.String()
			}
		}
		all = append(all, name+" "+value)
	}
	slices.Sort(all)
	return all
}

func entryPoints(text string) []string {
	var all []string
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch name, value, ok := strings.Cut(line, "="); {
		case strings.HasPrefix(line, "["):
			section = line
		case ok:
			all = append(all, section+" "+strings.TrimSpace(name)+" = "+strings.TrimSpace(value))
		}
	}
	slices.Sort(all)
	return all
}
