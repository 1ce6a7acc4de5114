package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/jubako/jubako/pkg/assemble"
	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
)

func (a *app) lockCmd() *cobra.Command {
	o := &buildOptions{}
	var upgrade, check bool
	cmd := &cobra.Command{
		Use:   "lock [DIR]",
		Short: "Write jubako.lock: the base's digest for every platform",
		Long: `Write jubako.lock beside pyproject.toml: the digest of the base, for every platform. Keep it under
version control. An existing lock of the same base stays as it is, unless --upgrade asks for what
the base is today.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			tools, spec, err := a.prepare(cmd.Context(), o, dirOf(args))
			if err != nil {
				return err
			}
			defer tools.Store.Close()
			file := filepath.Join(spec.Project.Dir, base.LockName)
			old, err := base.ReadLock(file)
			if err != nil && !upgrade {
				return err
			}
			name, opened, err := assemble.OpenBase(cmd.Context(), tools, spec)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, opened.Close()) }()
			if old != nil && old.Base.Name == name && !upgrade && !check {
				a.note("%s pins %s already; --upgrade takes what it is today", base.LockName, name)
				_, err := fmt.Fprintln(a.stdout, old.Base.Digest)
				return err
			}
			img, err := singlePlatform(cmd.Context(), opened)
			if err != nil {
				return err
			}
			fresh := base.Pin(name, opened, img)
			if check {
				if old == nil || !bytes.Equal(old.Bytes(), fresh.Bytes()) {
					return hint.Wrap(hint.Check(fmt.Errorf("%s is not what %s is today", base.LockName, name)), "jubako lock --upgrade takes it")
				}
				_, err := fmt.Fprintln(a.stdout, old.Base.Digest)
				return err
			}
			if old != nil {
				a.note("%s: %s was %s", name, opened.Digest, old.Base.Digest)
			}
			if err := fresh.Write(file); err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, fresh.Base.Digest)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.profile, "profile", "p", "prod", "a profile of the configuration")
	f.StringVar(&o.base, "base", "", "the base, a `SOURCE` (default as for build)")
	f.StringArrayVar(&o.sets, "set", nil, "`KEY=VALUE`, any key of [tool.jubako], in TOML; repeatable")
	f.BoolVar(&upgrade, "upgrade", false, "take what the base is today")
	f.BoolVar(&check, "check", false, "write nothing; fail (exit code 4) where the lock is not what the base is today")
	o.format, o.sandbox = "oci", "auto"
	return cmd
}

func (a *app) note(format string, args ...any) {
	a.term.report(assemble.Event{Kind: assemble.Note, Text: fmt.Sprintf(format, args...)})
}

// singlePlatform is the platform of a single image; the zero one for an index.
func singlePlatform(ctx contextT, o *base.Opened) (v1.Platform, error) {
	if o.IsIndex() {
		return v1.Platform{}, nil
	}
	img, err := o.Image(ctx, v1.Platform{})
	if err != nil {
		return v1.Platform{}, err
	}
	return img.Platform, nil
}
