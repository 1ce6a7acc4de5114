package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/assemble"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/cas"
	"github.com/jubako/jubako/pkg/fetch"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/patience"
	"github.com/jubako/jubako/pkg/pep508"
	"github.com/jubako/jubako/pkg/project"
	"github.com/jubako/jubako/pkg/regclient"
)

func userAgent() string { return "jubako/" + version }

// sleep waits before a download is tried again; tests do not wait.
var sleep = patience.Sleep

// transport makes every request: with the environment's proxies and CAs, and room for parallel transfers.
func transport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 16
	return t
}

// dockerConfig is the file that `docker login` and `jubako login` write.
func (a *app) dockerConfig() string {
	if dir := a.env("DOCKER_CONFIG"); dir != "" {
		return filepath.Join(dir, "config.json")
	}
	return filepath.Join(a.env("HOME"), ".docker", "config.json")
}

// registryClient speaks to container registries with the credentials that Docker and podman keep.
func (a *app) registryClient() (*regclient.Client, error) {
	var files []string
	if f := a.env("REGISTRY_AUTH_FILE"); f != "" {
		files = append(files, f)
	}
	files = append(files, a.dockerConfig())
	if dir := a.env("XDG_RUNTIME_DIR"); dir != "" {
		files = append(files, filepath.Join(dir, "containers", "auth.json"))
	}
	files = append(files, filepath.Join(a.env("HOME"), ".config", "containers", "auth.json"))
	mirrors := make(map[string]string)
	for _, m := range a.mirrors {
		from, to, ok := strings.Cut(m, "=")
		if !ok {
			return nil, hint.Usage(fmt.Errorf("--registry-mirror %s: write REGISTRY=MIRROR", m))
		}
		mirrors[from] = to
	}
	return regclient.New(regclient.Options{
		ConfigFiles: files, PlainHTTP: a.plainHTTP, Mirrors: mirrors, UserAgent: userAgent(), Base: transport(), Log: a.debug,
	}), nil
}

func (a *app) debug(text string) { a.term.report(assemble.Event{Kind: assemble.Debug, Text: text}) }

// fetchClient downloads what locks name.
func (a *app) fetchClient(store *cas.Store, p *project.Project, o *buildOptions) *fetch.Client {
	netrc := a.env("NETRC")
	if netrc == "" {
		netrc = filepath.Join(a.env("HOME"), ".netrc")
	}
	if t := a.env("UV_EXCLUDE_NEWER"); t != "" {
		p.UV.Building.ExcludeNewer = t
	}
	creds := &fetch.Credentials{Getenv: a.env, Netrc: netrc, Keyring: p.UV.Keyring || a.env("UV_KEYRING_PROVIDER") == "subprocess"}
	for _, i := range slices.Concat(p.UV.Indexes, a.envIndexes()) {
		creds.Indexes = append(creds.Indexes, fetch.Index{Name: i.Name, URL: i.URL, Policy: fetch.Policy(strings.Replace(i.Authenticate, "auto", "", 1))})
	}
	var mu sync.Mutex
	var total int64
	return fetch.New(fetch.Options{
		Store: store, Transport: transport(), Credentials: creds, Offline: o.offline, Mirrors: p.Config.Mirrors, Index: p.Config.Index,
		FindLinks: o.findLinks, UserAgent: userAgent(), Log: a.debug, Sleep: sleep,
		Progress: func(_ string, n int64) {
			mu.Lock()
			total += n
			sum := total
			mu.Unlock()
			a.term.report(assemble.Event{Kind: assemble.Progress, Name: downloads, Text: "wheels", Done: sum})
		},
	})
}

// envIndexes are the indexes that uv's variables name.
func (a *app) envIndexes() []project.Index {
	var all []project.Index
	for _, name := range []string{"UV_DEFAULT_INDEX", "UV_INDEX_URL"} {
		if u := a.env(name); u != "" {
			all = append(all, namedIndex(u, true))
		}
	}
	for _, name := range []string{"UV_INDEX", "UV_EXTRA_INDEX_URL"} {
		for _, entry := range strings.Fields(a.env(name)) {
			all = append(all, namedIndex(entry, false))
		}
	}
	return all
}

// namedIndex reads URL or NAME=URL.
func namedIndex(entry string, isDefault bool) project.Index {
	if name, u, ok := strings.Cut(entry, "="); ok && !strings.Contains(name, ":") {
		return project.Index{Name: name, URL: u, Default: isDefault}
	}
	return project.Index{URL: entry, Default: isDefault}
}

// indexes are where files are looked for by their names: jubako's own setting, else what uv's and pip's configuration
// name, the default index last, as uv asks them.
func (a *app) indexes(p *project.Project) []string {
	if p.Config.Index != "" {
		return []string{p.Config.Index}
	}
	var first, last []string
	for _, i := range slices.Concat(a.envIndexes(), p.UV.Indexes) {
		switch {
		case i.Explicit:
		case i.Default:
			last = append(last, i.URL)
		default:
			first = append(first, i.URL)
		}
	}
	index, extra := pipIndexes(a.env)
	if index != "" {
		last = append(last, index)
	}
	// There is one default: the environment's before the configuration's before pip's.
	return slices.Concat(first, extra, last[:min(1, len(last))])
}

// uvBuildOptions are uv's no-build and no-binary, of the configuration and of the environment.
func (a *app) uvBuildOptions(p *project.Project) locked.BuildOptions {
	s := p.UV
	return locked.BuildOptions{
		NoBuild: s.NoBuild || isTrue(a.env("UV_NO_BUILD")), NoBinary: s.NoBinary || isTrue(a.env("UV_NO_BINARY")),
		NoBuildPackages:  pep508.SetOf(append(s.NoBuildPackage, strings.Fields(a.env("UV_NO_BUILD_PACKAGE"))...)...),
		NoBinaryPackages: pep508.SetOf(append(s.NoBinaryPkgs, strings.Fields(a.env("UV_NO_BINARY_PACKAGE"))...)...),
	}
}

// versionVariables are those of the environment by which build backends are told a version, in place of a version control
// system. Of everything else a build sees nothing.
func (a *app) versionVariables() []string {
	var all []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "SETUPTOOLS_SCM_PRETEND_VERSION") || name == "PDM_BUILD_SCM_VERSION" || name == "PBR_VERSION" {
			all = append(all, kv)
		}
	}
	slices.Sort(all)
	return all
}

// host is the platform of this machine, as images name it. jubako builds Linux images, wherever it runs.
func host() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// openSource opens an image wherever it is.
func (a *app) openSource(ctx contextT, s string, store *cas.Store) (*base.Opened, *regclient.Client, error) {
	src, err := base.ParseSource(s)
	if err != nil {
		return nil, nil, err
	}
	client, err := a.registryClient()
	if err != nil {
		return nil, nil, err
	}
	opened, err := base.Open(ctx, src, base.Options{Client: client, Store: store})
	return opened, client, err
}

// pinned is a source as it was written, with its digest. A path may hold "@".
func pinned(s string, o *base.Opened) string {
	if o.Source.Kind == base.Registry {
		return pinnedRef(s, o.Digest)
	}
	return s + "@" + o.Digest.String()
}

// pinnedRef is a reference with a digest, in place of the one that it may have.
func pinnedRef(ref string, digest v1.Hash) string {
	ref, _, _ = strings.Cut(ref, "@")
	return ref + "@" + digest.String()
}

// gitRevision is the commit that a folder is at, with "-dirty" where it has changes; "" where git does not tell.
func gitRevision(ctx contextT, dir string) string {
	if !mayBeCommitted(dir) {
		return ""
	}
	git := func(args ...string) (string, bool) {
		out, err := commandOutput(ctx, dir, "git", args...)
		return strings.TrimSpace(out), err == nil
	}
	rev, ok := git("rev-parse", "HEAD")
	if !ok {
		return ""
	}
	if changes, ok := git("status", "--porcelain", "--", "."); ok && changes != "" {
		rev += "-dirty"
	}
	return rev
}

// mayBeCommitted says whether git has where to look, which costs less than to start it.
func mayBeCommitted(dir string) bool {
	dir, err := filepath.Abs(dir)
	if err != nil || os.Getenv("GIT_DIR") != "" {
		return true
	}
	for ; !exists(filepath.Join(dir, ".git")); dir = filepath.Dir(dir) {
		if dir == filepath.Dir(dir) {
			return false
		}
	}
	return true
}

// isTrue reads a variable such as CI.
func isTrue(v string) bool { return v != "" && v != "0" && !strings.EqualFold(v, "false") }

// exists says whether a file is there.
func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
