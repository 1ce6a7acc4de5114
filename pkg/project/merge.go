package project

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/hint"
)

// applyProfile merges a profile over the rest: tables merge, lists and values replace. prod needs no table.
func applyProfile(file string, merged map[string]any, profile string) error {
	profiles, _ := merged["profile"].(map[string]any)
	delete(merged, "profile")
	p, ok := profiles[profile].(map[string]any)
	if !ok && profile != DefaultProfile {
		names := append(slices.Collect(maps.Keys(profiles)), DefaultProfile)
		slices.Sort(names)
		return hint.Wrap(hint.Usage(fmt.Errorf("--profile: %s has no profile %q", file, profile)), "it has: %s", strings.Join(slices.Compact(names), ", "))
	}
	merge(merged, p)
	return nil
}

// merge lays a table over another.
func merge(into, over map[string]any) {
	for k, v := range over {
		if name, ok := into[k].(string); ok && k == "user" {
			if _, ok := v.(map[string]any); ok {
				into[k] = map[string]any{"name": name} // the short form
			}
		}
		a, ok1 := into[k].(map[string]any)
		b, ok2 := v.(map[string]any)
		if !ok1 || !ok2 {
			into[k] = v
			continue
		}
		if k == "healthcheck" && (b["cmd"] != nil || b["url"] != nil) { // of its two forms the later one holds
			delete(a, "cmd")
			delete(a, "url")
		}
		merge(a, b)
	}
}

// applySet lays KEY=VALUE over the configuration. A value that is no TOML is taken as a string.
func applySet(merged map[string]any, at places, set string) error {
	key, value, ok := strings.Cut(set, "=")
	if !ok {
		return errors.New("there is no =")
	}
	var m map[string]any
	if err := toml.Unmarshal([]byte(set), &m); err != nil {
		if err2 := toml.Unmarshal([]byte(key+"="+strconv.Quote(strings.TrimSpace(value))), &m); err2 != nil {
			return err
		}
	}
	merge(merged, m)
	name := strings.TrimSpace(key)
	for k := range at { // what lay below the key may be gone
		if strings.HasPrefix(k, name+".") {
			delete(at, k)
		}
	}
	at[name] = "--set"
	return nil
}
