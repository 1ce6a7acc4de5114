package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/jubako/jubako/pkg/assemble"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pins"
	"github.com/jubako/jubako/pkg/project"
)

func (a *app) lockCmd() *cobra.Command {
	o := &buildOptions{}
	var upgrade, check bool
	cmd := &cobra.Command{
		Use:   "lock [DIR]",
		Short: "Write jubako.lock: the base's digest, Debian packages and build requirements with hashes",
		Long: `Write jubako.lock beside pyproject.toml: the digest of the base, for every platform, the Debian
packages that packages and build-packages bring in, with their versions and hashes, and the wheels that
packages are built with which have no wheel themselves, or whose build backend has to run. Keep it under
version control. What it pins stays as it is, unless --upgrade asks for what there is today; packages
are resolved anew when the configuration asks for others.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			tools, spec, err := a.prepare(o, dirOf(args))
			if err != nil {
				return err
			}
			defer tools.Store.Close()
			if spec.AlsoPin, err = alsoPin(spec.Project, o, dirOf(args)); err != nil {
				return err
			}
			file := filepath.Join(spec.Project.Dir, pins.Name)
			old, err := pins.Read(file)
			if err != nil && (check || !upgrade) {
				return err
			}
			if check && old == nil {
				return hint.Wrap(hint.Check(fmt.Errorf("there is no %s in %s", pins.Name, dirOf(args))), "jubako lock writes it")
			}
			p := assemble.NewPinner(tools, spec)
			defer func() { err = errors.Join(err, p.Close()) }()
			if check {
				return a.checkLock(cmd.Context(), p, old)
			}
			keep := old
			if upgrade {
				keep = nil
			}
			return a.writeLock(cmd.Context(), p, tools, spec, file, old, keep)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.profile, "profile", "p", "prod", "a profile of the configuration")
	f.StringVar(&o.base, "base", "", "the base, a `SOURCE` (default as for build)")
	f.StringArrayVar(&o.sets, "set", nil, "`KEY=VALUE`, any key of [tool.jubako], in TOML; repeatable")
	f.StringSliceVar(&o.platforms, "platform", nil, "`LIST` of platforms to pin packages for (default those of the base among linux/amd64, linux/arm64 and the host's)")
	o.debianFlags(f)
	f.BoolVar(&upgrade, "upgrade", false, "take what there is today, and say what has moved")
	f.BoolVar(&check, "check", false, "write nothing; fail (exit code 4) where the lock is not what there is today")
	o.format, o.sandbox = "oci", "auto"
	return cmd
}

// alsoPin are the packages of the other profiles, as far as one lock can hold them: those over the same base.
func alsoPin(p *project.Project, o *buildOptions, dir string) ([]project.Debian, error) {
	var all []project.Debian
	for _, name := range p.Profiles() {
		if name == o.profile {
			continue
		}
		q, err := project.Load(dir, name, o.sets)
		if err != nil {
			return nil, err
		}
		if (o.base != "" || q.Config.Base == p.Config.Base) && slices.Equal(q.Config.ExcludePackages, p.Config.ExcludePackages) {
			all = append(all, q.Config.Debian)
		}
	}
	return all, nil
}

// checkLock compares the lock with what there is today.
func (a *app) checkLock(ctx contextT, p *assemble.Pinner, old *pins.File) error {
	fresh, err := p.Pin(ctx, nil)
	if err != nil {
		return err
	}
	if fresh.Build, err = p.PinBuild(ctx, fresh, nil); err != nil {
		return err
	}
	if old == nil || !bytes.Equal(old.Bytes(), fresh.Bytes()) {
		if old != nil {
			a.sayMoved(old, fresh)
		}
		return hint.Wrap(hint.Check(fmt.Errorf("%s is not what %s is today", pins.Name, fresh.Base.Name)), "jubako lock --upgrade takes it")
	}
	_, err = fmt.Fprintln(a.stdout, old.Base.Digest)
	return err
}

// writeLock writes what there is today, the base and what wheels are built with as keep has them.
func (a *app) writeLock(ctx contextT, p *assemble.Pinner, tools assemble.Tools, spec assemble.Spec, file string, old, keep *pins.File) (err error) {
	var fresh *pins.File
	var keepBuild *pins.Build
	if keep != nil {
		keepBuild = keep.Build
	}
	if keep != nil && keep.Base.Name == assemble.BaseName(tools, spec) && assemble.Pins(keep, spec) {
		same := *keep
		fresh = &same
	} else if fresh, err = p.Pin(ctx, keep); err != nil {
		return err
	}
	if fresh.Build, err = p.PinBuild(ctx, fresh, keepBuild); err != nil {
		return err
	}
	if keep != nil && bytes.Equal(keep.Bytes(), fresh.Bytes()) {
		a.note("%s pins %s already; --upgrade takes what it is today", pins.Name, keep.Base.Name)
		_, err := fmt.Fprintln(a.stdout, keep.Base.Digest)
		return err
	}
	if old != nil {
		a.sayMoved(old, fresh)
	}
	if err := fresh.Write(file); err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.stdout, fresh.Base.Digest)
	return err
}

// sayMoved says what is different between two locks, a line each.
func (a *app) sayMoved(old, fresh *pins.File) {
	if old.Base.Digest != fresh.Base.Digest {
		a.note("%s: %s was %s", fresh.Base.Name, fresh.Base.Digest, old.Base.Digest)
	}
	for _, line := range slices.Concat(pins.Moved(old.Debian, fresh.Debian), pins.MovedBuild(old.Build, fresh.Build)) {
		a.note("%s", line)
	}
}

func (a *app) note(format string, args ...any) {
	a.term.report(assemble.Event{Kind: assemble.Note, Text: fmt.Sprintf(format, args...)})
}
