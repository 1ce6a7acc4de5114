package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/jubako/jubako/pkg/assemble"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/locked"
	"github.com/jubako/jubako/pkg/output"
	"github.com/jubako/jubako/pkg/pins"
	"github.com/jubako/jubako/pkg/project"
	"github.com/jubako/jubako/pkg/regclient"
	"github.com/jubako/jubako/pkg/sandbox"
)

type contextT = context.Context

// buildOptions are the flags of build, plan and verify that say what the image is.
type buildOptions struct {
	tags        []string
	push        bool
	outputs     []string
	profile     string
	platforms   []string
	base        string
	sets        []string
	lock        string
	install     locked.Request
	findLinks   []string
	frozenBase  bool
	cacheFrom   []string
	noCache     bool
	offline     bool
	format      string
	compression []string
	jobs        int
	metadata    string
	sandbox     string
	strict      bool
	checkSteps  bool
	noReuse     bool
	frozenGiven bool
	debMirror   string
	snapshot    string

	strictScripts bool
}

// debianFlags are those that say where Debian packages come from.
func (o *buildOptions) debianFlags(f *pflag.FlagSet) {
	f.StringVar(&o.debMirror, "deb-mirror", "", "`URL` of an archive that stands in for the base's own, https://HOST/debian")
	f.StringVar(&o.snapshot, "snapshot", "", "Debian archives as they were: `TIME` is base (when the base was made) or 20260301T000000Z")
}

// inputFlags are those that decide about the image's bytes.
func (o *buildOptions) inputFlags(f *pflag.FlagSet) {
	f.StringVarP(&o.profile, "profile", "p", project.DefaultProfile, "a profile of the configuration")
	f.StringSliceVar(&o.platforms, "platform", nil, "`LIST` of platforms, linux/amd64,linux/arm64; more than one makes an index (default the host's)")
	f.StringVar(&o.base, "base", "", "the base, a `SOURCE` (default python:X.Y-slim for the project's Python)")
	f.StringArrayVar(&o.sets, "set", nil, "`KEY=VALUE`, any key of [tool.jubako], in TOML; repeatable")
	f.StringVar(&o.lock, "lock", "", "the lock `FILE`: uv.lock, pylock.toml, or requirements.txt with hashes (default the one that is found)")
	i := &o.install
	f.StringSliceVar(&i.Extras, "extra", nil, "an extra of the project to install")
	f.BoolVar(&i.AllExtras, "all-extras", false, "install every extra of the project")
	f.StringSliceVar(&i.NoExtras, "no-extra", nil, "an extra to leave out of --all-extras")
	f.StringSliceVar(&i.Groups, "group", nil, "a dependency group to install")
	f.StringSliceVar(&i.NoGroups, "no-group", nil, "a dependency group to leave out")
	f.StringSliceVar(&i.OnlyGroups, "only-group", nil, "a dependency group to install without the project and its dependencies")
	f.BoolVar(&i.AllGroups, "all-groups", false, "install every dependency group")
	f.StringSliceVar(&i.Packages, "package", nil, "a workspace member to install in place of the project")
	f.BoolVar(&i.AllPackages, "all-packages", false, "install every workspace member")
	f.StringSliceVar(&i.NoInstallPackages, "no-install-package", nil, "a package to leave out")
	f.BoolVar(&i.NoInstallProject, "no-install-project", false, "leave out the project itself, not its dependencies")
	f.BoolVar(&i.NoInstallWorkspace, "no-install-workspace", false, "leave out the workspace's members")
	f.BoolVar(&i.NoInstallLocal, "no-install-local", false, "leave out what is locked as a local folder or file")
	f.BoolVar(&i.NoEditable, "no-editable", false, "build editable projects into the environment")
	f.StringSliceVar(&i.NoEditablePackages, "no-editable-package", nil, "an editable project to build into the environment")
	f.StringSliceVar(&o.findLinks, "find-links", nil, "a `DIR` of wheels to take where the lock has none that fits, or where they cannot be fetched")
	o.debianFlags(f)
	f.BoolVar(&o.strictScripts, "strict-scripts", false, "a maintainer script of a Debian package that is not carried out is an error (exit code 4)")
	f.BoolVar(&o.frozenBase, "frozen-base", false, "fail unless jubako.lock pins the base and Debian packages (on where CI is set and the file exists)")
	f.BoolVar(&o.offline, "offline", false, "no network: what the cache and local files hold has to do; not with --push, nor for a step with network = true that has to run")
	f.StringVar(&o.format, "format", "oci", "media types: oci or docker")
	f.StringSliceVar(&o.compression, "compression", nil, "of layers: gzip or zstd, for all places or for one, as in push=`zstd` (default gzip; a docker-archive stays gzip)")
	f.IntVar(&o.jobs, "jobs", 0, "parallel work (default the cores)")
	f.StringVar(&o.sandbox, "sandbox", "auto", "how commands are isolated: auto, userns, chroot, ptrace or loader (Python alone)")
	f.BoolVar(&o.strict, "strict", false, "what is probably not meant is an error (exit code 4)")
	f.BoolVar(&o.noCache, "no-cache", false, "make every layer anew")
	f.BoolVar(&o.noReuse, "no-reuse", false, "run every step, collectstatic too, whether or not a file that it read has changed")
	f.StringSliceVar(&o.cacheFrom, "cache-from", nil, "an image `REF` whose layers may be reused; with --push the images that the tags lead to are, too")
}

func (a *app) buildCmd() *cobra.Command {
	o := &buildOptions{}
	cmd := &cobra.Command{
		Use:   "build [DIR]",
		Short: "Assemble the image of a project",
		Long: `Assemble the image of the project in DIR (default "."), from its pyproject.toml and its lock.

What is supported                     uv.lock   pylock.toml   requirements.txt (with hashes)
  extras, groups                      yes       yes           a file for each choice
  workspace members, conflicts        yes       -             -
  wheels: index, flat index           yes       yes           yes, found in an index by their hashes
  wheels: URL, path, git              yes       yes           yes
  folders: virtual, editable, built   yes       yes           yes    } by their build backend where
  git repositories, built             yes       yes           yes    } its settings are not static
  sdists                              yes       yes           yes

The result goes where --push and -o say. Standard output has one line for each place, with the
digest of the image's manifest, or of the index of several; for a docker-archive, which has no
manifest, that of the same image in a registry. Everything else is on standard error.`,
		Example: `  jubako build -t registry.example.com/team/app:1.4 --push
  jubako build -t team/app:1.4 -o docker-archive:app.tar
  jubako build -p dev -t localhost:5000/app:dev --push`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.frozenGiven = cmd.Flags().Changed("frozen-base")
			return a.build(cmd.Context(), o, dirOf(args))
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.tags, "tag", "t", nil, "`REF` to name the image, repeatable; all tags move together, last of all (default tool.jubako.image)")
	f.BoolVar(&o.push, "push", false, "push to every tag's registry")
	f.StringArrayVarP(&o.outputs, "output", "o", nil, "`KIND:PATH` to write: oci:DIR, oci-archive:FILE or docker-archive:FILE; FILE - is standard output, for one of them; repeatable")
	f.StringVar(&o.metadata, "metadata-file", "", "`FILE` for digests, tags, layers and times, as JSON")
	f.BoolVar(&o.checkSteps, "check-steps", false, "run every step twice, collectstatic too, and fail where they make different files (exit code 4)")
	o.inputFlags(f)
	return cmd
}

func dirOf(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

func (a *app) build(ctx context.Context, o *buildOptions, dir string) error {
	start := a.now()
	if o.push && o.offline {
		return hint.Wrap(hint.Usage(errors.New("--push needs the network, and --offline forbids it")), "write it with -o oci-archive:FILE, and push that later: jubako push oci-archive:FILE REF")
	}
	tools, spec, err := a.prepare(o, dir)
	if err != nil {
		return err
	}
	defer tools.Store.Close()
	if o.push && len(spec.Tags) == 0 {
		return hint.Wrap(hint.Usage(fmt.Errorf("--push needs a name for the image")), "name it with -t, or with image under [tool.jubako]")
	}
	if o.metadata != "" {
		if err := checkWritable(o.metadata, spec.Outputs); err != nil {
			return hint.Usage(fmt.Errorf("--metadata-file: %w", err))
		}
	}
	res, err := assemble.Build(ctx, tools, spec)
	if err != nil {
		return err
	}
	took := a.now().Sub(start)
	a.term.finish()
	err = a.printResult(spec, res)
	if o.metadata != "" {
		err = errors.Join(err, writeMetadata(o.metadata, spec, res, took))
	}
	return err
}

// checkWritable says, before anything has moved, that a file could not be written afterwards. It touches nothing.
func checkWritable(file string, outputs []assemble.Output) error {
	fi, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		file = filepath.Dir(file) // which has to be there, unless a layout brings it
		if _, err := os.Stat(file); err != nil && slices.ContainsFunc(outputs, func(o assemble.Output) bool { return o.Kind == "oci" && holds(file, o.Path) }) {
			return nil
		}
	case err != nil:
		return err
	case fi.IsDir():
		return &fs.PathError{Op: "open", Path: file, Err: unix.EISDIR}
	}
	if err := unix.Access(file, unix.W_OK); err != nil {
		return &fs.PathError{Op: "write to", Path: file, Err: err}
	}
	return nil
}

// holds says whether a path is a folder or lies below it.
func holds(dir, path string) bool {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// printResult prints the line, or lines, that a script reads.
func (a *app) printResult(spec assemble.Spec, res *assemble.Result) error {
	var lines []string
	if res.Pushed {
		for _, t := range spec.Tags {
			lines = append(lines, t.String()+"@"+res.Digest.String())
		}
	}
	for i, o := range spec.Outputs {
		if o.Path == "-" {
			return nil // standard output is the image itself
		}
		lines = append(lines, o.Kind+":"+o.Path+"@"+res.Outputs[i].String())
	}
	if len(lines) == 0 {
		lines = append(lines, res.Digest.String())
		a.term.report(assemble.Event{Kind: assemble.Note, Text: "nothing was pushed or written: --push or -o KIND:PATH says where the image goes"})
	}
	_, err := fmt.Fprintln(a.stdout, strings.Join(lines, "\n"))
	return err
}

// prepare turns flags, environment and configuration into what a build takes. The caller closes the tools' store.
func (a *app) prepare(o *buildOptions, dir string) (assemble.Tools, assemble.Spec, error) {
	fail := func(err error) (assemble.Tools, assemble.Spec, error) { return assemble.Tools{}, assemble.Spec{}, err }
	p, err := project.Load(dir, o.profile, o.sets)
	if err != nil {
		return fail(err)
	}
	client, err := a.registryClient()
	if err != nil {
		return fail(err)
	}
	if err := o.check(client); err != nil {
		return fail(hint.Usage(err))
	}
	ci := isTrue(a.env("CI"))
	spec := assemble.Spec{
		Project: p, Profile: o.profile, Base: o.base, FrozenBase: o.frozenBase, Lock: o.lock, Install: o.install,
		Build: a.uvBuildOptions(p), BuildEnv: a.versionVariables(), Indexes: a.indexes(p), FindLinks: o.findLinks, Push: o.push, Format: output.Format(o.format),
		Revision: func(ctx context.Context) string { return gitRevision(ctx, p.Dir) }, Jobs: o.jobs, NoCache: o.noCache, Offline: o.offline, CacheFrom: o.cacheFrom, Strict: o.strict, CI: ci, CheckSteps: o.checkSteps, NoReuse: o.noReuse,
		DebMirror: o.debMirror, Snapshot: o.snapshot, StrictScripts: o.strictScripts,
	}
	if !o.frozenGiven && ci && exists(filepath.Join(p.Dir, pins.Name)) {
		spec.FrozenBase = true
	}
	if spec.Format != output.OCI && spec.Format != output.Docker {
		return fail(hint.Usage(fmt.Errorf("--format is oci or docker, not %q", o.format)))
	}
	if spec.Compression, err = parseCompression(o.compression); err != nil {
		return fail(err)
	}
	if spec.Rung, err = rung(o.sandbox); err != nil {
		return fail(err)
	}
	if spec.Epoch, err = a.epoch(); err != nil {
		return fail(err)
	}
	for _, s := range o.platforms {
		pl, err := v1.ParsePlatform(s)
		if err != nil || pl.OS == "" || pl.Architecture == "" {
			return fail(hint.Wrap(hint.Usage(fmt.Errorf("--platform: %q is no platform", s)), "write linux/amd64 or linux/arm64"))
		}
		spec.Platforms = append(spec.Platforms, *pl)
	}
	tags := o.tags
	if len(tags) == 0 && p.Config.Image != "" {
		tags = []string{p.Config.Image}
	}
	for _, t := range tags {
		ref, err := client.Reference(t)
		if err != nil {
			return fail(err)
		}
		if _, digest := ref.(name.Digest); digest {
			return fail(hint.Usage(fmt.Errorf("-t %s: a digest cannot be given to an image", t)))
		}
		spec.Tags = append(spec.Tags, ref)
	}
	for _, s := range o.outputs {
		out, err := parseOutput(s)
		if err != nil {
			return fail(err)
		}
		if out.Path == "-" && slices.ContainsFunc(spec.Outputs, func(o assemble.Output) bool { return o.Path == "-" }) {
			return fail(hint.Usage(fmt.Errorf("-o %s: standard output takes one archive", s)))
		}
		spec.Outputs = append(spec.Outputs, out)
	}
	store, err := a.store()
	if err != nil {
		return fail(err)
	}
	tools := assemble.Tools{Store: store, Registry: client, Fetch: a.fetchClient(store, p, o), Report: a.term.report, Now: a.now, Host: host(), Program: program(), AptDir: "/etc/apt", Stdout: a.stdout, LookupEnv: a.lookupEnv}
	if a.verbose {
		tools.StepLog = a.stderr
	}
	return tools, spec, nil
}

// check looks at the values of flags that might else be looked at late or, where a project has no use for them, never.
func (o *buildOptions) check(client *regclient.Client) error {
	if o.jobs < 0 {
		return fmt.Errorf("--jobs %d: at least one is needed; 0 is the cores", o.jobs)
	}
	if o.debMirror != "" {
		if err := project.CheckDebMirror(o.debMirror); err != nil {
			return fmt.Errorf("--deb-mirror: %w", err)
		}
	}
	if o.snapshot != "" {
		if err := deb.CheckSnapshot(o.snapshot); err != nil {
			return fmt.Errorf("--snapshot: %w", err)
		}
	}
	for _, dir := range o.findLinks {
		if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
			return fmt.Errorf("--find-links %s: there is no such folder", dir)
		}
	}
	for _, ref := range o.cacheFrom {
		src, err := base.ParseSource(ref)
		if err == nil && src.Kind == base.Registry {
			_, err = client.Reference(src.Ref)
		}
		if err != nil {
			return fmt.Errorf("--cache-from: %w", err)
		}
	}
	return nil
}

// program is the version, and the size and time of the file that runs: a build of the same version may be another. It is "" where
// the system does not tell.
func program() string {
	file, err := os.Executable()
	if err != nil {
		return ""
	}
	fi, err := os.Stat(file)
	if err != nil {
		return ""
	}
	return fmt.Sprint(version, fi.Size(), fi.ModTime().UnixNano())
}

func rung(s string) (sandbox.Rung, error) {
	for _, r := range append(sandbox.Rungs(), sandbox.Auto) {
		if string(r) == s {
			return r, nil
		}
	}
	return "", hint.Usage(fmt.Errorf("--sandbox is auto, userns, chroot, ptrace or loader, not %q", s))
}

// epoch is SOURCE_DATE_EPOCH, or 0.
func (a *app) epoch() (int64, error) {
	v := a.env("SOURCE_DATE_EPOCH")
	if v == "" {
		return 0, nil
	}
	const last = 253402300799 // 9999-12-31T23:59:59Z: a later year has no form in a config (RFC 3339)
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 || n > last {
		return 0, hint.Usage(fmt.Errorf("SOURCE_DATE_EPOCH is %q, and has to be a number of seconds since 1970, before the year 10000", v))
	}
	return n, nil
}

// parseOutput reads KIND:PATH; a layout may have a tag behind its path.
func parseOutput(s string) (assemble.Output, error) {
	kind, path, ok := strings.Cut(s, ":")
	switch {
	case !ok || path == "":
	case kind == "oci":
		o := assemble.Output{Kind: kind, Path: path}
		if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
			o.Path, o.Tag = path[:i], path[i+1:]
		}
		if o.Path == "-" {
			return o, hint.Wrap(hint.Usage(fmt.Errorf("-o %s: a layout is a folder, and no standard output", s)), "write oci-archive:-, or oci:./- for a folder of that name")
		}
		return o, nil
	case kind == "oci-archive" || kind == "docker-archive":
		return assemble.Output{Kind: kind, Path: path}, nil
	}
	return assemble.Output{}, hint.Wrap(hint.Usage(fmt.Errorf("-o %s: no such output", s)), "write oci:DIR, oci-archive:FILE or docker-archive:FILE")
}

// writeMetadata writes what was built, with Docker's key names where there are such.
func writeMetadata(file string, spec assemble.Spec, res *assemble.Result, took interface{ Seconds() float64 }) error {
	var names []string
	for _, t := range spec.Tags {
		names = append(names, t.String())
	}
	type layer struct {
		Name    string  `json:"name"`
		Key     string  `json:"key"`
		Digest  string  `json:"digest"`
		DiffID  string  `json:"diffID"`
		Size    int64   `json:"size"`
		State   string  `json:"state"`
		Summary string  `json:"summary"`
		Seconds float64 `json:"seconds"`
	}
	type platform struct {
		Platform string  `json:"platform"`
		Manifest string  `json:"manifest"`
		Base     string  `json:"base"`
		Layers   []layer `json:"layers"`
	}
	var platforms []platform
	for _, p := range res.Platform {
		out := platform{Platform: p.Platform.String(), Manifest: p.Manifest.String(), Base: p.BaseDigest.String()}
		for _, l := range p.Layers {
			out.Layers = append(out.Layers, layer{l.Name, string(l.Key), "sha256:" + l.Digest, "sha256:" + l.DiffID, l.Size, string(l.State), l.Summary, l.Took.Seconds()})
		}
		platforms = append(platforms, out)
	}
	b, err := json.MarshalIndent(map[string]any{
		"containerimage.digest": res.Digest.String(),
		"image.name":            strings.Join(names, ","),
		"jubako": map[string]any{
			"version": version, "platforms": platforms, "pushed": res.Pushed, "blobsPushed": res.Push.Pushed, "bytesPushed": res.Push.Bytes,
			"blobsMounted": res.Push.Mounted, "blobsPresent": res.Push.Present, "seconds": took.Seconds(),
		},
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the metadata: %w", err)
	}
	return nil
}

func (a *app) planCmd() *cobra.Command {
	o := &buildOptions{}
	cmd := &cobra.Command{
		Use:   "plan [DIR]",
		Short: "Say what build would do: each layer, its key, reused or to be made",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.frozenGiven = cmd.Flags().Changed("frozen-base")
			tools, spec, err := a.prepare(o, dirOf(args))
			if err != nil {
				return err
			}
			defer tools.Store.Close()
			for _, t := range spec.Tags { // as build --push looks at them
				spec.CacheFrom = append(spec.CacheFrom, t.String())
			}
			plan, err := assemble.Plan(cmd.Context(), tools, spec)
			if err != nil {
				return err
			}
			a.term.finish()
			for _, l := range plan {
				fmt.Fprintf(a.stdout, "%-12s %-8s %s  %s\n", l.Name, l.State, l.Key[:12], l.Summary)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVarP(&o.tags, "tag", "t", nil, "`REF` of an earlier image whose layers may be reused, as build --push does (default tool.jubako.image)")
	o.inputFlags(cmd.Flags())
	return cmd
}

// commandOutput runs a program in a folder.
func commandOutput(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	return string(out), err
}
