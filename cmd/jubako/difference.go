package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/fstree"
)

// valueDiff is a value of a config, nil where one has none.
type valueDiff struct {
	Name string          `json:"name"` // "Env.PATH", "Cmd", "created"
	A    json.RawMessage `json:"a,omitempty"`
	B    json.RawMessage `json:"b,omitempty"`
}

// diffConfigs compares all of two configs but what describes the layers.
func diffConfigs(a, b []byte) (all []valueDiff, err error) {
	from, err := flatConfig(a)
	if err != nil {
		return nil, err
	}
	to, err := flatConfig(b)
	if err != nil {
		return nil, err
	}
	for _, name := range unionOf(from, to) {
		if !bytes.Equal(from[name], to[name]) {
			all = append(all, valueDiff{name, from[name], to[name]})
		}
	}
	return all, nil
}

// flatConfig gives a config's values by name: environment variables, and members of objects such as labels, one by one.
func flatConfig(config []byte) (map[string]json.RawMessage, error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(config, &top); err != nil {
		return nil, fmt.Errorf("reading the image's config: %w", err)
	}
	delete(top, "rootfs")
	delete(top, "history")
	var conf map[string]json.RawMessage
	if raw, ok := top["config"]; ok {
		if err := json.Unmarshal(raw, &conf); err != nil {
			return nil, fmt.Errorf("reading the image's config: %w", err)
		}
	}
	delete(top, "config")
	flat := make(map[string]json.RawMessage)
	set := func(name string, raw json.RawMessage) {
		raw = compact(raw)
		if !slices.Contains([]string{"null", `""`, "[]"}, string(raw)) { // which mean the same as an absent one
			flat[name] = raw
		}
	}
	for name, raw := range top {
		set(name, raw)
	}
	for name, raw := range conf {
		var env []string
		var object map[string]json.RawMessage
		switch {
		case name == "Env" && json.Unmarshal(raw, &env) == nil:
			for _, kv := range env {
				k, v, _ := strings.Cut(kv, "=")
				flat["Env."+k], _ = json.Marshal(v) // a string always can
			}
		case name != "Healthcheck" && json.Unmarshal(raw, &object) == nil:
			for k, v := range object {
				flat[name+"."+k] = compact(v)
			}
		default:
			set(name, raw)
		}
	}
	return flat, nil
}

func compact(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return raw // cannot be: it was parsed
	}
	return b.Bytes()
}

func unionOf[V any](a, b map[string]V) []string {
	both := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(both)
	return slices.Compact(both)
}

// layersDiff compares the layers by their digests.
type layersDiff struct {
	Same    int              `json:"same"`
	Removed []inspectedLayer `json:"removed"`
	Added   []inspectedLayer `json:"added"`
}

func diffLayers(from, to *base.Image) (d layersDiff, err error) {
	a, err := inspectImage(from)
	if err != nil {
		return d, err
	}
	b, err := inspectImage(to)
	if err != nil {
		return d, err
	}
	there := make(map[string]int)
	for _, l := range a.Layers {
		there[l.Digest]++
	}
	for _, l := range b.Layers {
		if there[l.Digest] > 0 {
			there[l.Digest]--
			d.Same++
		} else {
			d.Added = append(d.Added, l)
		}
	}
	for _, l := range slices.Backward(a.Layers) { // of several equal ones, the uppermost are those that are gone
		if there[l.Digest] > 0 {
			there[l.Digest]--
			d.Removed = append(d.Removed, l)
		}
	}
	slices.Reverse(d.Removed)
	return d, nil
}

// packageDiff is a package whose version differs; "" where one image lacks it.
type packageDiff struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	A    string `json:"a,omitempty"`
	B    string `json:"b,omitempty"`
}

func diffPackages(from, to map[string]base.File) (all []packageDiff, err error) {
	a, err := versionsOf(from)
	if err != nil {
		return nil, err
	}
	b, err := versionsOf(to)
	if err != nil {
		return nil, err
	}
	for _, key := range unionOf(a, b) {
		if a[key] != b[key] {
			kind, name, _ := strings.Cut(key, " ")
			all = append(all, packageDiff{kind, name, a[key], b[key]})
		}
	}
	return all, nil
}

// versionsOf gives the versions of the packages by kind and name; of one that is there more than once, all.
func versionsOf(files map[string]base.File) (map[string]string, error) {
	found := make(map[string]installed)
	for name, f := range files {
		if p, ok := pythonPackage(name); ok {
			found[name] = p
		}
		if name == dpkgStatus {
			if err := readStatus(bytes.NewReader(f.Kept), name, found); err != nil {
				return nil, fmt.Errorf("reading /%s: %w", name, err)
			}
		}
	}
	versions := make(map[string]string)
	for _, at := range slices.Sorted(maps.Keys(found)) {
		p := found[at]
		key := p.Kind + " " + p.Name
		if v := versions[key]; v != "" && v != p.Version {
			p.Version = v + ", " + p.Version
		}
		versions[key] = p.Version
	}
	return versions, nil
}

// fileDiff is a path that differs.
type fileDiff struct {
	Path   string   `json:"path"`
	Change string   `json:"change"`         // "added", "removed" or "changed"
	What   []string `json:"what,omitempty"` // of a changed one: "kind", "mode", "owner", "content", "link"
	A      *fileNow `json:"a,omitempty"`
	B      *fileNow `json:"b,omitempty"`
}

// fileNow is what a path is in one of the images.
type fileNow struct {
	Kind   string `json:"kind"`
	Mode   string `json:"mode"` // octal
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Size   int64  `json:"size,omitempty"`
	Link   string `json:"link,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

func diffFiles(from, to map[string]base.File) (all []fileDiff) {
	for _, p := range unionOf(from, to) {
		a, inA := from[p]
		b, inB := to[p]
		d := fileDiff{Path: "/" + p}
		switch {
		case !inA:
			d.Change, d.B = "added", nowOf(b)
		case !inB:
			d.Change, d.A = "removed", nowOf(a)
		default:
			d.Change, d.What, d.A, d.B = "changed", whatDiffers(a, b), nowOf(a), nowOf(b)
			if len(d.What) == 0 {
				continue
			}
		}
		all = append(all, d)
	}
	return all
}

func whatDiffers(a, b base.File) (what []string) {
	add := func(name string, differs bool) {
		if differs {
			what = append(what, name)
		}
	}
	add("kind", a.Kind != b.Kind)
	add("mode", a.Kind != fstree.Symlink && b.Kind != fstree.Symlink && a.Mode != b.Mode) // a link's means nothing
	add("owner", a.UID != b.UID || a.GID != b.GID)
	add("content", a.Kind == b.Kind && a.SHA256 != b.SHA256)
	add("link", a.Kind == b.Kind && a.Link != b.Link)
	return what
}

func nowOf(f base.File) *fileNow {
	return &fileNow{Kind: f.Kind.String(), Mode: fmt.Sprintf("%04o", f.Mode), UID: f.UID, GID: f.GID, Size: f.Size, Link: f.Link, SHA256: f.SHA256}
}

// text is the path, and of a changed one what it was and is.
func (f fileDiff) text() string {
	if f.Change != "changed" {
		return f.Path
	}
	var parts []string
	for _, what := range f.What {
		switch what {
		case "kind":
			parts = append(parts, fmt.Sprintf("%s → %s", f.A.Kind, f.B.Kind))
		case "mode":
			parts = append(parts, fmt.Sprintf("mode %s → %s", f.A.Mode, f.B.Mode))
		case "owner":
			parts = append(parts, fmt.Sprintf("owner %d:%d → %d:%d", f.A.UID, f.A.GID, f.B.UID, f.B.GID))
		case "link":
			parts = append(parts, fmt.Sprintf("link %s → %s", f.A.Link, f.B.Link))
		case "content":
			parts = append(parts, fmt.Sprintf("content (%s → %s)", size(f.A.Size), size(f.B.Size)))
		}
	}
	return f.Path + "  " + strings.Join(parts, ", ")
}
