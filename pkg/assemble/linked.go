package assemble

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/step"
)

// checkLinked holds the libraries that a built wheel is linked with against what the image has, Debian packages among it. They
// are looked for by their names alone, wherever they lie: that the loader finds them there is for their package to see to.
func (b *builder) checkLinked(ctx context.Context, l *lower, name string, needed []string) error {
	if len(needed) == 0 {
		return nil
	}
	there, err := l.libraries(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, soname := range needed {
		if there[path.Base(soname)] {
			continue
		}
		err := fmt.Errorf("package %s is linked with %s, which neither the base nor packages hold", name, soname)
		if pkg, known := step.DebianPackage(soname); known {
			err = hint.Wrap(err, "it is in Debian's package %s: [tool.jubako] packages = [%s]", pkg, quotedList(append(slices.Clone(b.spec.Project.Config.Packages), pkg)))
		} else {
			err = hint.Wrap(err, "add the Debian package that holds %s to [tool.jubako] packages (apt-file search finds it)", soname)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// libraries are the names of the base's shared libraries, the links to them among them.
func (l *lower) libraries(ctx context.Context) (map[string]bool, error) {
	l.librariesOnce.Do(func() {
		var whole *base.Facts
		if whole, l.librariesErr = l.facts.Whole(ctx); l.librariesErr != nil {
			return
		}
		l.known = make(map[string]bool)
		for p := range whole.Files {
			if name := path.Base(p); strings.Contains(name, ".so") {
				l.known[name] = true
			}
		}
	})
	return l.known, l.librariesErr
}

func quotedList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(quoted, ", ")
}
