package assemble

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/cas/castest"
	"github.com/jubako/jubako/pkg/deb"
	"github.com/jubako/jubako/pkg/deb/debtest"
	"github.com/jubako/jubako/pkg/fetch"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/pins"
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

// TestAnotherDeb: a package that is another one is that also at the second place that is asked.
func TestAnotherDeb(t *testing.T) {
	a := debtest.Serve(t)
	b := fetching(t, &project.Config{})
	a.Put("/snapshot/x.deb", []byte("another"))
	set := &debs{Sources: []pins.Source{{URI: a.URL + "/debian", Suite: "trixie", Snapshot: a.URL + "/snapshot"}}}
	_, err := b.openDeb(t.Context(), set, deb.Locked{Name: "x", Version: "1", Path: "x.deb", Size: 7, SHA256: strings.Repeat("0", 64)})
	if hint.KindOf(err) != hint.KindCheck || !strings.Contains(err.Error(), "package x=1 is not the one that was pinned") {
		t.Errorf("%v (kind %d)", err, hint.KindOf(err))
	}
	a.Put("/snapshot/x.deb", nil)
	_, err = b.openDeb(t.Context(), set, deb.Locked{Name: "x", Version: "1", Path: "x.deb", Size: 7, SHA256: strings.Repeat("0", 64)})
	if hint.KindOf(err) != hint.KindNetwork || !strings.Contains(err.Error(), "404") {
		t.Errorf("%v (kind %d)", err, hint.KindOf(err))
	}
}
