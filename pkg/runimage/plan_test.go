package runimage

import (
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/jubako/jubako/pkg/base"
	"github.com/jubako/jubako/pkg/hint"
)

var here = v1.Platform{OS: "linux", Architecture: "amd64"}

func planOf(t *testing.T, config string, o Options) (*plan, error) {
	t.Helper()
	o.Image = &base.Image{Config: []byte(`{"os":"linux","architecture":"amd64","config":` + config + `}`), Platform: here}
	o.Host = here
	return newPlan(o)
}

func TestCommand(t *testing.T) {
	program, none := "/bin/x", ""
	for name, test := range map[string]struct {
		config string
		o      Options
		want   string
	}{
		"both":                  {`{"Entrypoint":["e","1"],"Cmd":["c"]}`, Options{}, "e 1 c"},
		"cmd":                   {`{"Cmd":["c"]}`, Options{}, "c"},
		"arguments":             {`{"Entrypoint":["e"],"Cmd":["c"]}`, Options{Args: []string{"a", "b"}}, "e a b"},
		"entrypoint":            {`{"Entrypoint":["e"],"Cmd":["c"]}`, Options{Entrypoint: &program}, "/bin/x"},
		"entrypoint, arguments": {`{"Entrypoint":["e"],"Cmd":["c"]}`, Options{Entrypoint: &program, Args: []string{"a"}}, "/bin/x a"},
		"no entrypoint":         {`{"Entrypoint":["e"],"Cmd":["c"]}`, Options{Entrypoint: &none, Args: []string{"a"}}, "a"},
	} {
		p, err := planOf(t, test.config, test.o)
		if err != nil || strings.Join(p.argv, " ") != test.want {
			t.Errorf("%s: %v %v", name, p, err)
		}
	}
}

func TestPlan(t *testing.T) {
	p, err := planOf(t, `{"Cmd":["c"],"Env":["A=1","B=2","A=3","odd"],"WorkingDir":"/app","Volumes":{"/v":{},"/u":{}},"StopSignal":"SIGQUIT",
		"ExposedPorts":{"8000/tcp":{},"53/udp":{},"9000":{},"70000/tcp":{},"80-90/tcp":{}}}`, Options{Env: []string{"B=x=y"}})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"PATH=" + defaultPath, "HOSTNAME=localhost", "A=3", "B=x=y"}, p.env); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"/app", "/u", "/v"}, p.folders); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]Port{{8000, 8000}, {9000, 9000}}, p.ports); d != "" {
		t.Error(d)
	}
	if p.stopSignal != syscall.SIGQUIT || p.dir != "/app" || p.health != nil {
		t.Errorf("%+v", p)
	}
	p, err = planOf(t, `{"Cmd":["c"],"ExposedPorts":{"8000/tcp":{}},"Healthcheck":{"Test":["CMD","x"]}}`, Options{Health: true})
	if err != nil || p.dir != "/" || p.ports != nil || p.health.retries != defaultRetries || p.health.interval != defaultInterval {
		t.Errorf("%+v %v", p, err)
	}
	p, err = planOf(t, `{"Cmd":["c"],"Shell":["/bin/bash","-ec"],"Healthcheck":{"Test":["CMD-SHELL","a b"],"Interval":1000000000,"Retries":1}}`,
		Options{Health: true, Ports: []Port{{1, 2}}})
	if err != nil || strings.Join(p.health.argv, "|") != "/bin/bash|-ec|a b" || p.health.interval.Seconds() != 1 || p.health.retries != 1 || len(p.ports) != 1 {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := planOf(t, `{"Cmd":["c"],"StopSignal":"SIGNONE"}`, Options{}); err == nil {
		t.Error("a signal that is none was taken")
	}
}

func TestParsePort(t *testing.T) {
	for s, want := range map[string]Port{"8080:8000": {8080, 8000}, "0:80/tcp": {0, 80}, "80": {0, 80}, "80/tcp": {0, 80}} {
		if got, err := ParsePort(s); got != want || err != nil {
			t.Errorf("%q: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", ":", "1:", ":1", "1:0", "0", "65536:1", "1:65536", "-1:1", "127.0.0.1:1:2", "1:2/udp", "1:2/tcp/x"} {
		if got, err := ParsePort(s); err == nil || hint.KindOf(err) != hint.KindUsage {
			t.Errorf("%q: %v %v", s, got, err)
		}
	}
}

// FuzzPlan: no config makes it panic, and what is started has a command.
func FuzzPlan(f *testing.F) {
	f.Add([]byte(`{"os":"linux","architecture":"amd64","config":{"Cmd":["c"],"Env":["A"],"ExposedPorts":{"1-2/tcp":{}},"StopSignal":"RTMIN+","Healthcheck":{"Test":["CMD-SHELL"]}}}`), true)
	f.Add([]byte(`{"os":"linux","architecture":"amd64","config":{"Entrypoint":["e"],"Healthcheck":{"Test":["CMD","x"],"Interval":-5,"Retries":-1},"Volumes":{"../..":{}}}}`), true)
	f.Fuzz(func(t *testing.T, config []byte, health bool) {
		p, err := newPlan(Options{Image: &base.Image{Config: config, Platform: here}, Host: here, Health: health})
		if err != nil {
			return
		}
		if len(p.argv) == 0 || health && (len(p.health.argv) == 0 || p.health.interval <= 0 || p.health.retries <= 0) {
			t.Errorf("%+v", p)
		}
	})
}
