package assemble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/step"
)

// checkLinked holds the libraries that a built wheel is linked with against what the image has. In the image they are looked
// for by their name alone, wherever they lie: that what is found there is found by the loader as well is for its base to see to.
func (b *builder) checkLinked(ctx context.Context, l *lower, name string, needed []string) error {
	missing := slices.Clone(needed)
	missing = slices.DeleteFunc(missing, func(soname string) bool { return l.libraries()[path.Base(soname)] })
	if len(missing) == 0 {
		return nil
	}
	packages, err := b.imagePackages(ctx, l)
	if err != nil {
		return err
	}
	var errs []error
	for _, soname := range missing {
		pkg, known := step.DebianPackage(soname)
		switch {
		case known && packages[pkg]:
		case known:
			errs = append(errs, hint.Wrap(fmt.Errorf("package %s is linked with %s, which neither the base nor packages hold", name, soname),
				"it is in Debian's package %s: [tool.jubako] packages = [%s]", pkg, quotedList(append(slices.Clone(b.spec.Project.Config.Packages), pkg))))
		case len(packages) > 0: // any of them may hold it
			b.debug("%s is linked with %s, which one of the Debian packages has to hold", name, soname)
		default:
			errs = append(errs, hint.Wrap(fmt.Errorf("package %s is linked with %s, which neither the base nor packages hold", name, soname),
				"add the Debian package that holds %s to [tool.jubako] packages (apt-file search finds it)", soname))
		}
	}
	return errors.Join(errs...)
}

// libraries are the names of the base's shared libraries, the links to them among them.
func (l *lower) libraries() map[string]bool {
	l.librariesOnce.Do(func() { l.known = librariesOf(l.facts) })
	return l.known
}

func librariesOf(f *base.Facts) map[string]bool {
	all := make(map[string]bool)
	for p := range maps.Keys(f.Files) {
		if name := path.Base(p); strings.Contains(name, ".so") {
			all[name] = true
		}
	}
	return all
}

// imagePackages are the names of the Debian packages that are added to the base.
func (b *builder) imagePackages(ctx context.Context, l *lower) (map[string]bool, error) {
	set, err := b.debs(ctx, l.image, b.spec.Project.Config.Packages, nil)
	if err != nil || set == nil {
		return nil, err
	}
	all := make(map[string]bool)
	for _, p := range set.Packages {
		all[p.Name] = true
	}
	return all, nil
}

func quotedList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(quoted, ", ")
}
