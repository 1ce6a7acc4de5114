package project

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/imageconf"
)

// Config is [tool.jubako] for one profile, as it is written: nothing is inferred yet. Nil and empty mean that a key is
// absent, but for lists, where an empty list that is written is not nil.
type Config struct {
	Image       string
	Base        string
	Workdir     string // absolute, in the image; "/app" where absent
	Source      string // relative to pyproject.toml
	Manage      string
	Venv        string // below Workdir
	User        User
	NumericUser bool
	Owner       string
	Extras      []string
	Groups      []string
	Exclude     []string
	Include     []string
	Env         map[string]string
	Expose      []string // "8000/tcp"
	Healthcheck *Healthcheck
	Entrypoint  []string
	Cmd         []string
	Labels      map[string]string
	Volumes     []string
	Writable    []string
	StopSignal  string
	Staticfiles Staticfiles
	Copy        []Copy
	Steps       []Step
	Bytecode    bool
	Mirrors     map[string]string
	Index       string
	Debian
}

// Debian says which packages of Debian archives are wanted, and where they come from.
type Debian struct {
	Packages        []string // into the image: NAME, NAME=VERSION or NAME/SUITE
	BuildPackages   []string // for building sdists only
	ExcludePackages []string // names that count as fulfilled wherever a package needs them
	DebSources      []string // in the one-line style of sources.list(5), in place of the base's own
	DebMirror       string   // URL of the archive that stands in for the base's
	Snapshot        string   // "base", or a time: the archives as they were then
}

// User is whom the service runs as.
type User struct {
	Name     string // also a number, or "uid:gid"
	UID, GID int    // -1 where any will do
}

// Healthcheck is the health check, in one of its two forms.
type Healthcheck struct {
	Cmd         []string // exec form
	Shell       string   // shell form
	URL         string   // asked by Python
	Interval    time.Duration
	Timeout     time.Duration
	StartPeriod time.Duration
	StartIntvl  time.Duration
	Retries     int
}

// Staticfiles says how static files are collected.
type Staticfiles struct {
	Off     bool // staticfiles = false
	Set     bool // the table is there
	Command []string
	Output  string
	Env     map[string]string
}

// Copy brings files in that were made elsewhere.
type Copy struct{ From, To string }

// The tables as TOML has them. A key that may hold values of several types is any, and is looked at by hand.
type (
	rawConfig struct {
		Image         string                `toml:"image"`
		Base          string                `toml:"base"`
		Workdir       string                `toml:"workdir"`
		Source        string                `toml:"source"`
		Manage        string                `toml:"manage"`
		Venv          string                `toml:"venv"`
		User          any                   `toml:"user"`
		NumericUser   bool                  `toml:"numeric-user"`
		Owner         string                `toml:"owner"`
		Packages      []string              `toml:"packages"`
		BuildPackages []string              `toml:"build-packages"`
		Without       []string              `toml:"exclude-packages"`
		DebSources    []string              `toml:"deb-sources"`
		DebMirror     string                `toml:"deb-mirror"`
		Snapshot      string                `toml:"snapshot"`
		Extras        []string              `toml:"extras"`
		Groups        []string              `toml:"groups"`
		Exclude       []string              `toml:"exclude"`
		Include       []string              `toml:"include"`
		Bytecode      bool                  `toml:"bytecode"`
		Env           map[string]string     `toml:"env"`
		Expose        []any                 `toml:"expose"`
		Healthcheck   any                   `toml:"healthcheck"`
		Entrypoint    []string              `toml:"entrypoint"`
		Cmd           []string              `toml:"cmd"`
		Labels        map[string]string     `toml:"labels"`
		Volumes       []string              `toml:"volumes"`
		Writable      []string              `toml:"writable"`
		StopSignal    string                `toml:"stop-signal"`
		Staticfiles   any                   `toml:"staticfiles"`
		Copy          []rawCopy             `toml:"copy"`
		Step          []rawStep             `toml:"step"`
		Mirrors       map[string]string     `toml:"mirrors"`
		Index         string                `toml:"index"`
		Profile       map[string]rawProfile `toml:"profile"`
	}
	rawProfile = rawConfig
	rawCopy    struct {
		From string `toml:"from"`
		To   string `toml:"to"`
	}
	rawUser struct {
		Name string `toml:"name"`
		UID  *int   `toml:"uid"`
		GID  *int   `toml:"gid"`
	}
	rawHealthcheck struct {
		Cmd         any    `toml:"cmd"`
		URL         string `toml:"url"`
		Interval    string `toml:"interval"`
		Timeout     string `toml:"timeout"`
		StartPeriod string `toml:"start-period"`
		StartIntvl  string `toml:"start-interval"`
		Retries     int    `toml:"retries"`
	}
	rawStaticfiles struct {
		Command []string          `toml:"command"`
		Output  string            `toml:"output"`
		Env     map[string]string `toml:"env"`
	}
	rawDocument struct {
		Tool struct {
			Jubako rawConfig `toml:"jubako"`
		} `toml:"tool"`
	}
)

// configFor reads [tool.jubako] of a document for a profile, with further settings over it, each KEY=VALUE in TOML.
func configFor(file string, data []byte, profile string, sets []string) (*Config, places, error) {
	merged, err := jubakoTable(file, data)
	if err != nil {
		return nil, nil, err
	}
	at := placesOf(file, data)
	if err := checkNames(at.of, "", merged, topKeys); err != nil {
		return nil, nil, err
	}
	if _, err := decode(file, data); err != nil { // also in profiles that are not asked for
		return nil, nil, err
	}
	if err := applyProfile(file, merged, profile); err != nil {
		return nil, nil, err
	}
	at.overlay("profile." + profile + ".")
	for _, s := range sets {
		if err := applySet(merged, at, s); err != nil {
			return nil, nil, hint.Wrap(hint.Usage(fmt.Errorf("--set %s: %w", s, err)), `write KEY=VALUE, the value in TOML: --set 'cmd=["gunicorn"]'`)
		}
	}
	bySet := func(string) string { return "--set" } // what is wrong by now came with it
	if err := checkNames(bySet, "", merged, profileKeys); err != nil {
		return nil, nil, err
	}
	b, err := toml.Marshal(map[string]any{"tool": map[string]any{"jubako": merged}})
	if err != nil {
		return nil, nil, err
	}
	raw, err := decode("", b)
	if err != nil {
		return nil, nil, err
	}
	c, err := raw.Tool.Jubako.resolve(merged)
	if ke, ok := errors.AsType[*keyError](err); ok {
		return nil, nil, hint.Usage(fmt.Errorf("%s: %w", at.of(ke.key), err))
	}
	if err != nil {
		return nil, nil, hint.Usage(fmt.Errorf("reading [tool.jubako] of %s: %w", file, err))
	}
	return c, at, nil
}

// resolve checks values and gives them their types. merged tells what was written.
func (r *rawConfig) resolve(merged map[string]any) (*Config, error) {
	c := &Config{
		Image: r.Image, Base: r.Base, Workdir: cmp.Or(r.Workdir, "/app"), Source: cmp.Or(r.Source, "."), Manage: r.Manage, Venv: cmp.Or(r.Venv, ".venv"),
		NumericUser: r.NumericUser, Owner: r.Owner, Extras: r.Extras, Groups: r.Groups, Exclude: r.Exclude, Include: r.Include, Env: r.Env,
		Entrypoint: r.Entrypoint, Cmd: r.Cmd, Labels: r.Labels, Volumes: r.Volumes, Writable: r.Writable, StopSignal: r.StopSignal,
		Mirrors: r.Mirrors, Index: r.Index, Bytecode: r.Bytecode,
	}
	if c.Env == nil {
		c.Env = map[string]string{}
	}
	if err := checkVariables("env", c.Env); err != nil {
		return nil, err
	}
	if _, err := imageconf.Signal(c.StopSignal); err != nil {
		return nil, badKey("stop-signal", "%w", err)
	}
	for i, cp := range r.Copy {
		if cp.From == "" || cp.To == "" {
			return nil, badKey(fmt.Sprintf("copy.%d", i), "from and to are both needed")
		}
		c.Copy = append(c.Copy, Copy(cp))
	}
	var err error
	if c.Debian, err = r.debian(); err != nil {
		return nil, err
	}
	if c.Expose, err = ports(r.Expose); err != nil {
		return nil, err
	}
	if c.User, err = readUser(merged["user"]); err != nil {
		return nil, err
	}
	if c.Healthcheck, err = readHealthcheck(merged["healthcheck"]); err != nil {
		return nil, err
	}
	if c.Staticfiles, err = readStaticfiles(merged["staticfiles"]); err != nil {
		return nil, err
	}
	if c.Steps, err = readSteps(r.Step); err != nil {
		return nil, err
	}
	if err := c.checkPaths(); err != nil {
		return nil, err
	}
	return c, c.checkOutputs()
}
