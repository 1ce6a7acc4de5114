package project

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/hint"
)

// jubakoTable is [tool.jubako] of a document that has been read without an error. In other letters it would be nobody's table.
func jubakoTable(file string, data []byte) (map[string]any, error) {
	var doc map[string]any
	if err := toml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	for _, top := range slices.Sorted(maps.Keys(doc)) {
		tools, _ := doc[top].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(tools)) {
			if full := top + "." + name; full != "tool.jubako" && strings.EqualFold(full, "tool.jubako") {
				return nil, hint.Wrap(hint.Usage(fmt.Errorf("%s: there is no table [%s]", file, full)), "did you mean [tool.jubako]?")
			}
		}
	}
	tools, _ := doc["tool"].(map[string]any)
	table, _ := tools["jubako"].(map[string]any)
	if table == nil {
		table = map[string]any{}
	}
	return table, nil
}

// checkNames refuses keys that do not exist, also in profiles that are not asked for: a misspelt key is found before the day
// on which it matters. The decoder cannot be asked: it takes User for user, and does not look into what may have several types.
func checkNames(at func(key string) string, prefix string, table map[string]any, known []string) error {
	for _, k := range slices.Sorted(maps.Keys(table)) {
		key := prefix + k
		below, isTable := table[k].(map[string]any)
		list, _ := table[k].([]any)
		switch keys, ok := tableKeys[k]; {
		case !slices.Contains(known, k) && k == "profile":
			return hint.Usage(fmt.Errorf("%s: %s: a profile cannot hold profiles", at(key), key))
		case !slices.Contains(known, k):
			return nearest(fmt.Errorf("%s: there is no key %q in [tool.jubako]", at(key), key), k, known)
		case k == "profile":
			for _, name := range slices.Sorted(maps.Keys(below)) {
				p, _ := below[name].(map[string]any)
				if err := checkNames(at, key+"."+name+".", p, profileKeys); err != nil {
					return err
				}
			}
		case ok && isTable:
			if err := checkNames(at, key+".", below, keys); err != nil {
				return err
			}
		case ok:
			for i, v := range list {
				t, _ := v.(map[string]any)
				if err := checkNames(at, fmt.Sprintf("%s.%d.", key, i), t, keys); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// decode reads [tool.jubako] of a document. It refuses values of wrong types, with their place; without a file that is --set.
func decode(file string, data []byte) (doc rawDocument, err error) {
	if err := toml.Unmarshal(data, &doc); err != nil {
		return doc, undecoded(file, err)
	}
	return doc, nil
}

// position is a place in a file; without a file it is the command line.
func position(file string, at func() (row, column int)) string {
	if file == "" {
		return "--set"
	}
	row, col := at()
	return fmt.Sprintf("%s:%d:%d", file, row, col)
}

// profileKeys are the keys that a profile may have, and topKeys those of [tool.jubako] itself.
var (
	profileKeys = []string{"image", "base", "workdir", "source", "manage", "venv", "user", "numeric-user", "owner", "packages", "build-packages",
		"exclude-packages", "deb-sources", "deb-mirror", "snapshot", "extras", "groups", "exclude", "include", "bytecode", "env", "expose", "healthcheck", "entrypoint", "cmd", "labels", "volumes", "writable",
		"stop-signal", "staticfiles", "copy", "step", "mirrors", "index"}
	topKeys = append(slices.Clip(profileKeys), "profile")
)

// tableKeys are the keys of the tables below these.
var tableKeys = map[string][]string{
	"user":        {"name", "uid", "gid"},
	"healthcheck": {"cmd", "url", "interval", "timeout", "start-period", "start-interval", "retries"},
	"staticfiles": {"command", "output", "env"},
	"copy":        {"from", "to"},
	"step":        {"name", "command", "output", "env", "secret", "network", "timeout", "memory"},
}

// nearest adds to an error about a name the known one that is most like it.
func nearest(err error, last string, known []string) error {
	err = hint.Usage(err)
	best := hint.Nearest(last, known)
	if best == "" {
		return hint.Wrap(err, "known keys: %s", strings.Join(known, ", "))
	}
	return hint.Wrap(err, "did you mean %q?", best)
}
