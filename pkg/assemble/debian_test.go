package assemble

import (
	"context"
	"fmt"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/deb/debtest"
	"github.com/jubako/jubako/pkg/fetch"
	"github.com/jubako/jubako/pkg/project"
)

// fetching makes a builder that asks archives.
func fetching(t *testing.T, c *project.Config) *builder {
	t.Helper()
	store := castest.Open(t)
	f := fetch.New(fetch.Options{Store: store, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	return newBuilder(Tools{Store: store, Fetch: f, Now: time.Now, Report: func(Event) {}}, Spec{Project: &project.Project{Config: c}})
}

// TestResolvedAgain: what is kept of an answer is not taken for that of other architectures.
func TestResolvedAgain(t *testing.T) {
	key := debtest.NewKey(t, time.Now().AddDate(-1, 0, 0), 0)
	a := debtest.Serve(t)
	a.Publish(t, "/debian", debtest.Suite{Name: "trixie", Date: time.Now().Add(-time.Hour), Keys: []debtest.Key{key},
		Packages: []debtest.Package{{Control: "Package: hello\nVersion: 1\nArchitecture: amd64\nDescription: greets\n"}}})
	c := &project.Config{}
	b := fetching(t, c)
	for _, tc := range []struct {
		arch string
		want bool
	}{{"", true}, {"[arch=arm64]", false}, {"[arch=amd64]", true}} {
		dpkg := &base.Dpkg{Files: map[string][]byte{
			"etc/apt/sources.list": fmt.Appendf(nil, "deb %s %s/debian trixie main\n", tc.arch, a.URL), "etc/apt/trusted.gpg.d/a.gpg": key.Ring(t, false),
		}}
		set, err := b.resolveFor(t.Context(), place{platform: v1.Platform{OS: "linux", Architecture: "amd64"}, dpkg: dpkg}, []string{"hello"}, nil)
		if got := err == nil && len(set.Packages) == 1; got != tc.want {
			t.Errorf("%q: %+v, %v", tc.arch, set, err)
		}
	}
}
