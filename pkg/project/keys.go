package project

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/hint"
)

// checkProfiles refuses unknown keys in the tables that may be other values too, also in profiles that are not asked
// for: a misspelt key is found before the day on which it matters.
func checkProfiles(at places, tables map[string]any) error {
	if err := checkTables(at, "", tables); err != nil {
		return err
	}
	profiles, _ := tables["profile"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(profiles)) {
		t, _ := profiles[name].(map[string]any)
		if err := checkTables(at, "profile."+name+".", t); err != nil {
			return err
		}
	}
	return nil
}

func checkTables(at places, prefix string, tables map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(tableKeys)) {
		t, ok := tables[key].(map[string]any)
		if !ok {
			continue
		}
		if err := checkTable(prefix+key, t, tableKeys[key]); err != nil {
			if ke, ok := errors.AsType[*keyError](err); ok {
				return fmt.Errorf("%s: %w", at.of(ke.key), err)
			}
			return err
		}
	}
	return nil
}

// checkKeys refuses unknown keys and wrong types below [tool.jubako], with their place.
func checkKeys(file string, data []byte) error {
	var doc rawDocument
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(&doc)
	if err == nil {
		return nil
	}
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		for _, e := range strict.Errors {
			key := e.Key()
			if len(key) < 3 || key[0] != "tool" || key[1] != "jubako" {
				continue
			}
			return unknownKey(position(file, e.Position), key[2:])
		}
		return nil
	}
	return undecoded(file, err)
}

// position is a place in a file; without a file it is the command line.
func position(file string, at func() (row, column int)) string {
	if file == "" {
		return "--set"
	}
	row, col := at()
	return fmt.Sprintf("%s:%d:%d", file, row, col)
}

var topKeys = []string{"image", "base", "workdir", "source", "manage", "venv", "user", "numeric-user", "owner", "packages", "build-packages",
	"exclude-packages", "deb-sources", "deb-mirror", "snapshot", "extras", "groups", "exclude", "include", "bytecode", "env", "expose", "healthcheck", "entrypoint", "cmd", "labels", "volumes", "writable",
	"stop-signal", "staticfiles", "copy", "step", "mirrors", "index", "profile"}

// unknownKey is the error for a key that does not exist, with the nearest one that does.
func unknownKey(place string, key []string) error {
	last := key[len(key)-1]
	known := topKeys
	if len(key) > 1 {
		switch key[len(key)-2] {
		case "copy":
			known = []string{"from", "to"}
		case "step":
			known = stepKeys
		}
	}
	return unknownName(place, strings.Join(key, "."), last, known)
}

func unknownName(place, full, last string, known []string) error {
	return nearest(fmt.Errorf("%s: there is no key %q in [tool.jubako]", place, full), last, known)
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
