// Package imageconf makes an image's config from its base's (OCI image-spec config.md, and Docker's additions to it).
//
// It works on the JSON itself, so that what it does not know, such as a health check's StartInterval in a base, stays.
// It imports nothing of jubako.
package imageconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxConfig bounds a base's config in bytes.
const maxConfig = 8 << 20

// Var is an environment variable.
type Var struct{ Name, Value string }

// Healthcheck is Docker's HEALTHCHECK. Zero durations are left to the engine.
type Healthcheck struct {
	Test          []string // ["CMD", …] or ["CMD-SHELL", "…"]; ["NONE"] switches a base's off
	Interval      time.Duration
	Timeout       time.Duration
	StartPeriod   time.Duration
	StartInterval time.Duration
	Retries       int
}

// Layer is a layer that the image has beside its base's.
type Layer struct {
	Name    string // for the history
	DiffID  string // "sha256:…"
	Comment string // for the history; none where it is ""
}

// Settings is what changes against the base's config. Nil slices and empty strings leave the base's values.
type Settings struct {
	PathPrepend string // a folder that comes first in PATH, such as /app/.venv/bin
	Env         []Var  // later ones win
	WorkingDir  string
	User        string
	Ports       []string // "8000/tcp"
	Healthcheck *Healthcheck
	Entrypoint  []string
	Cmd         []string
	Labels      map[string]string
	Volumes     []string
	StopSignal  string
	Created     int64 // seconds since 1970
	Layers      []Layer
}

// object is a JSON object whose unknown values are kept as they came.
type object map[string]json.RawMessage

// Build gives the config's bytes. They depend on the arguments alone: keys are sorted, and there is no white space.
func Build(base []byte, s Settings) ([]byte, error) {
	if len(base) > maxConfig {
		return nil, fmt.Errorf("the base's config has %d bytes; at most %d are read", len(base), maxConfig)
	}
	var top object
	if err := json.Unmarshal(base, &top); err != nil {
		return nil, fmt.Errorf("reading the base's config: %w", err)
	}
	if top == nil {
		return nil, errors.New("reading the base's config: it is no JSON object")
	}
	config := object{}
	if err := top.get("config", &config); err != nil {
		return nil, err
	}
	if config == nil {
		config = object{}
	}
	if err := s.apply(config); err != nil {
		return nil, err
	}
	created := time.Unix(s.Created, 0).UTC().Format(time.RFC3339)
	if err := appendLayers(top, s.Layers, created); err != nil {
		return nil, err
	}
	delete(top, "id") // of images before content addressing
	delete(top, "container")
	delete(top, "container_config")
	if err := errors.Join(top.set("config", config), top.set("created", created)); err != nil {
		return nil, err
	}
	return marshal(top)
}

// marshal is json.Marshal without the escapes for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// get reads a value; one that is not there leaves v as it is.
func (o object) get(key string, v any) error {
	raw, ok := o[key]
	if !ok || string(raw) == "null" {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("reading %q of the base's config: %w", key, err)
	}
	return nil
}

func (o object) set(key string, v any) error {
	raw, err := marshal(v)
	if err != nil {
		return err
	}
	o[key] = raw
	return nil
}

// apply changes the config's inner object, as the Dockerfile's instructions of the same names do.
func (s Settings) apply(c object) error {
	env, err := s.environment(c)
	if err != nil {
		return err
	}
	if len(env) > 0 {
		if err := c.set("Env", env); err != nil {
			return err
		}
	}
	for key, v := range map[string]string{"WorkingDir": s.WorkingDir, "User": s.User, "StopSignal": s.StopSignal} {
		if v == "" {
			continue
		}
		if err := c.set(key, v); err != nil {
			return err
		}
	}
	if s.Entrypoint != nil {
		if err := c.set("Entrypoint", s.Entrypoint); err != nil {
			return err
		}
		delete(c, "Cmd") // a new entry point makes the base's arguments meaningless, as for Docker
	}
	delete(c, "OnBuild") // a trigger is for the first image built on the base, not for those built on that one
	if s.Cmd != nil {
		if err := c.set("Cmd", s.Cmd); err != nil {
			return err
		}
	}
	if s.Healthcheck != nil {
		if err := c.set("Healthcheck", s.Healthcheck.json()); err != nil {
			return err
		}
	}
	if err := addKeys(c, "ExposedPorts", s.Ports); err != nil {
		return err
	}
	if err := addKeys(c, "Volumes", s.Volumes); err != nil {
		return err
	}
	return addLabels(c, s.Labels)
}

// defaultPath is what Docker assumes where an image sets none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment extends the base's Env: a variable that is there is changed in its place, a new one comes at the end.
func (s Settings) environment(c object) ([]string, error) {
	var env []string
	if err := c.get("Env", &env); err != nil {
		return nil, err
	}
	// Of a variable that a base has twice, the second would hide what is put in the first one's place.
	put := func(name, value string) {
		is := func(kv string) bool { return strings.HasPrefix(kv, name+"=") }
		at := slices.IndexFunc(env, is)
		if at < 0 {
			env = append(env, name+"="+value)
			return
		}
		env[at] = name + "=" + value
		env = append(env[:at+1], slices.DeleteFunc(env[at+1:], is)...)
	}
	if s.PathPrepend != "" {
		path := defaultPath
		for _, kv := range env {
			if v, ok := strings.CutPrefix(kv, "PATH="); ok {
				path = v
			}
		}
		put("PATH", s.PathPrepend+":"+path)
	}
	for _, v := range s.Env {
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.ContainsRune(v.Value, 0) {
			return nil, fmt.Errorf("the environment variable %q cannot be", v.Name)
		}
		put(v.Name, v.Value)
	}
	return env, nil
}

// json gives the health check as Docker stores it, durations in nanoseconds.
func (h *Healthcheck) json() any {
	return struct {
		Test          []string
		Interval      time.Duration `json:",omitempty"`
		Timeout       time.Duration `json:",omitempty"`
		StartPeriod   time.Duration `json:",omitempty"`
		StartInterval time.Duration `json:",omitempty"`
		Retries       int           `json:",omitempty"`
	}(*h)
}

// addKeys adds to a set, which JSON writes as an object with empty values.
func addKeys(c object, key string, add []string) error {
	if len(add) == 0 {
		return nil
	}
	set := map[string]json.RawMessage{}
	if err := c.get(key, &set); err != nil {
		return err
	}
	for _, k := range add {
		set[k] = json.RawMessage("{}")
	}
	return c.set(key, set)
}

func addLabels(c object, add map[string]string) error {
	if len(add) == 0 {
		return nil
	}
	labels := map[string]string{}
	if err := c.get("Labels", &labels); err != nil {
		return err
	}
	for k, v := range add {
		labels[k] = v
	}
	return c.set("Labels", labels)
}

// appendLayers adds the layers' diffIDs and an entry of history for each.
func appendLayers(top object, layers []Layer, created string) error {
	rootfs := object{}
	if err := top.get("rootfs", &rootfs); err != nil {
		return err
	}
	var diffIDs []string
	if err := rootfs.get("diff_ids", &diffIDs); err != nil {
		return err
	}
	var history []json.RawMessage
	if err := top.get("history", &history); err != nil {
		return err
	}
	history, err := padHistory(history, len(diffIDs), created)
	if err != nil {
		return err
	}
	for _, l := range layers {
		diffIDs = append(diffIDs, l.DiffID)
		entry, err := marshal(historyEntry{created, "jubako: " + l.Name, l.Comment})
		if err != nil {
			return err
		}
		history = append(history, entry)
	}
	if rootfs == nil {
		rootfs = object{}
	}
	if err := errors.Join(rootfs.set("type", "layers"), rootfs.set("diff_ids", diffIDs)); err != nil {
		return err
	}
	return errors.Join(top.set("rootfs", rootfs), top.set("history", history))
}

// padHistory gives a base that says nothing of some of its layers an entry for each, since clients that show or convert an
// image go through layers and history side by side (OCI image-spec config.md, "history").
func padHistory(history []json.RawMessage, layers int, created string) ([]json.RawMessage, error) {
	for _, raw := range history {
		var entry struct {
			Empty bool `json:"empty_layer"`
		}
		if err := json.Unmarshal(raw, &entry); err != nil {
			return nil, fmt.Errorf("reading \"history\" of the base's config: %w", err)
		}
		if !entry.Empty {
			layers--
		}
	}
	for range layers {
		entry, err := marshal(historyEntry{Created: created, CreatedBy: "the base"})
		if err != nil {
			return nil, err
		}
		history = append(history, entry)
	}
	return history, nil
}

type historyEntry struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
	Comment   string `json:"comment,omitempty"`
}

// Config is what of a config other parts of jubako read.
type Config struct {
	OS           string    `json:"os"`
	Architecture string    `json:"architecture"`
	Variant      string    `json:"variant,omitempty"`
	Created      time.Time `json:"created"`
	Config       struct {
		User         string
		Env          []string
		Entrypoint   []string
		Cmd          []string
		WorkingDir   string
		Labels       map[string]string
		ExposedPorts map[string]struct{}
		Volumes      map[string]struct{}
		StopSignal   string
		Healthcheck  *Healthcheck
		Shell        []string // what CMD-SHELL is run by; nil is /bin/sh -c
		OnBuild      []string // triggers that a Dockerfile build on this image would run
	} `json:"config"`
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []struct {
		Created    time.Time `json:"created"`
		CreatedBy  string    `json:"created_by"`
		Comment    string    `json:"comment"`
		EmptyLayer bool      `json:"empty_layer"`
	} `json:"history"`
}

// LayerComments gives the comment of each layer's entry in the history. Where that has more entries or fewer than there are layers,
// which is whose is not known, and all are "".
func (c *Config) LayerComments() []string {
	var all []string
	for _, h := range c.History {
		if !h.EmptyLayer {
			all = append(all, h.Comment)
		}
	}
	if len(all) != len(c.RootFS.DiffIDs) {
		return make([]string, len(c.RootFS.DiffIDs))
	}
	return all
}

// Parse reads a config.
func Parse(b []byte) (*Config, error) {
	if len(b) > maxConfig {
		return nil, fmt.Errorf("the config has %d bytes; at most %d are read", len(b), maxConfig)
	}
	var c Config
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("reading the image's config: %w", err)
	}
	return &c, nil
}

// Getenv gives a variable of the config's Env, "" where it has none.
func (c *Config) Getenv(name string) string {
	for _, kv := range slices.Backward(c.Config.Env) {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}
