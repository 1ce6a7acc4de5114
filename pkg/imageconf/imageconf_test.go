package imageconf

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const base = `{"os":"linux","architecture":"amd64","container":"x","docker_version":"28","created":"2025-11-01T00:00:00Z",
 "config":{"Env":["PATH=/usr/local/bin:/bin","LANG=C.UTF-8"],"Cmd":["python3"],"Entrypoint":null,"Labels":{"a":"1"},"Shell":["/bin/bash","-c"],
 "Healthcheck":{"Test":["CMD","x"],"StartInterval":5}},
 "rootfs":{"type":"layers","diff_ids":["sha256:aa"]},"history":[{"created":"2025-11-01T00:00:00Z","created_by":"FROM <x>"}]}`

func TestBuild(t *testing.T) {
	got, err := Build([]byte(base), Settings{
		PathPrepend: "/app/.venv/bin",
		Env:         []Var{{"DJANGO_SETTINGS_MODULE", "a.b"}, {"LANG", "de"}},
		WorkingDir:  "/app", User: "app", Ports: []string{"8000/tcp"},
		Healthcheck: &Healthcheck{Test: []string{"CMD-SHELL", "curl -f x || exit 1"}, Interval: 30 * time.Second, Timeout: 3 * time.Second, StartInterval: time.Second, Retries: 2},
		Cmd:         []string{"uvicorn", "a & b"}, Labels: map[string]string{"b": "2"}, Volumes: []string{"/app/data"}, StopSignal: "SIGQUIT",
		Layers: []Layer{{Name: "venv", DiffID: "sha256:bb"}, {Name: "app", DiffID: "sha256:cc", Comment: "k=1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"architecture":"amd64","config":{"Cmd":["uvicorn","a & b"],"Entrypoint":null,"Env":["PATH=/app/.venv/bin:/usr/local/bin:/bin","LANG=de","DJANGO_SETTINGS_MODULE=a.b"],` +
		`"ExposedPorts":{"8000/tcp":{}},"Healthcheck":{"Test":["CMD-SHELL","curl -f x || exit 1"],"Interval":30000000000,"Timeout":3000000000,"StartInterval":1000000000,"Retries":2},` +
		`"Labels":{"a":"1","b":"2"},"Shell":["/bin/bash","-c"],"StopSignal":"SIGQUIT","User":"app","Volumes":{"/app/data":{}},"WorkingDir":"/app"},` +
		`"created":"1970-01-01T00:00:00Z","docker_version":"28","history":[{"created":"2025-11-01T00:00:00Z","created_by":"FROM <x>"},` +
		`{"created":"1970-01-01T00:00:00Z","created_by":"jubako: venv"},{"created":"1970-01-01T00:00:00Z","created_by":"jubako: app","comment":"k=1"}],` +
		`"os":"linux","rootfs":{"diff_ids":["sha256:aa","sha256:bb","sha256:cc"],"type":"layers"}}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
}

// TestBaseIsKept: what nobody sets stays, also what jubako does not know.
func TestBaseIsKept(t *testing.T) {
	got, err := Build([]byte(base), Settings{})
	if err != nil {
		t.Fatal(err)
	}
	for _, kept := range []string{`"StartInterval":5`, `"Shell":["/bin/bash","-c"]`, `"Cmd":["python3"]`, `"docker_version":"28"`} {
		if !bytes.Contains(got, []byte(kept)) {
			t.Errorf("%s is gone: %s", kept, got)
		}
	}
}

func TestEntrypointResetsCmd(t *testing.T) {
	got, err := Build([]byte(base), Settings{Entrypoint: []string{"/init"}})
	if err != nil || bytes.Contains(got, []byte("python3")) {
		t.Errorf("%s, %v", got, err)
	}
	if got, err = Build([]byte(base), Settings{Entrypoint: []string{}, Cmd: []string{"x"}}); err != nil || !bytes.Contains(got, []byte(`"Entrypoint":[]`)) {
		t.Errorf("%s, %v", got, err)
	}
}

func TestNoPathInBase(t *testing.T) {
	got, err := Build([]byte(`{"os":"linux"}`), Settings{PathPrepend: "/v/bin"})
	if err != nil || !bytes.Contains(got, []byte("PATH=/v/bin:"+defaultPath)) {
		t.Errorf("%s, %v", got, err)
	}
}

// TestLeftBehind: what a base says to those that build on it directly, twice, or not at all.
func TestLeftBehind(t *testing.T) {
	const odd = `{"config":{"OnBuild":["RUN x"],"Env":["PATH=/a","A=1","PATH=/b"]},"rootfs":{"diff_ids":["sha256:aa","sha256:bb"]},
	 "history":[{"created_by":"one"},{"created_by":"ENV","empty_layer":true}]}`
	got, err := Build([]byte(odd), Settings{PathPrepend: "/v/bin", Layers: []Layer{{Name: "app", DiffID: "sha256:cc"}}})
	want := `{"config":{"Env":["PATH=/v/bin:/b","A=1"]},"created":"1970-01-01T00:00:00Z","history":[{"created_by":"one"},{"created_by":"ENV","empty_layer":true},` +
		`{"created":"1970-01-01T00:00:00Z","created_by":"the base"},{"created":"1970-01-01T00:00:00Z","created_by":"jubako: app"}],` +
		`"rootfs":{"diff_ids":["sha256:aa","sha256:bb","sha256:cc"],"type":"layers"}}`
	if d := cmp.Diff(want, string(got)); err != nil || d != "" {
		t.Error(err, d)
	}
}

func TestBadBase(t *testing.T) {
	for _, b := range []string{"", "null", "[]", `{"config":3}`, `{"config":{"Env":{}}}`, `{"rootfs":{"diff_ids":7}}`, `{"history":{}}`, `{"history":[3]}`} {
		if got, err := Build([]byte(b), Settings{}); err == nil {
			t.Errorf("%q gave %s", b, got)
		}
	}
	if _, err := Build([]byte("{}"), Settings{Env: []Var{{"A=B", ""}}}); err == nil {
		t.Error("a name with = was taken")
	}
}

// FuzzBuild: any base gives an error, or a config that is built again to the same bytes.
func FuzzBuild(f *testing.F) {
	f.Add([]byte(base))
	f.Add([]byte(`{"config":{"Env":["A=1","A=2"],"OnBuild":["x"]},"rootfs":{"diff_ids":["a","b"]},"history":[{"empty_layer":true}]}`))
	f.Add([]byte(`{"config":null,"history":null,"rootfs":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := Build(b, Settings{User: "app", Ports: []string{"1/tcp"}})
		if err != nil {
			return
		}
		if !json.Valid(once) {
			t.Fatalf("no JSON: %s", once)
		}
		twice, err := Build(once, Settings{User: "app", Ports: []string{"1/tcp"}})
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%s, then %s, %v", once, twice, err)
		}
		_, _ = Parse(once)
	})
}

// TestLayerComments goes through layers and history side by side, whatever a stranger's config says of either.
func TestLayerComments(t *testing.T) {
	for text, want := range map[string][]string{
		`{"rootfs":{"diff_ids":["a","b"]},"history":[{"comment":"1"},{"comment":"-","empty_layer":true},{"comment":"2"}]}`: {"1", "2"},
		`{"rootfs":{"diff_ids":["a","b"]},"history":[{"comment":"0"},{"comment":"1"},{"comment":"2"}]}`:                    {"", ""},
		`{"rootfs":{"diff_ids":["a","b"]},"history":[{"comment":"1"}]}`:                                                    {"", ""},
		`{"rootfs":{"diff_ids":["a"]}}`: {""},
		`{"history":[{"comment":"1"}]}`: {},
	} {
		c, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, c.LayerComments()); d != "" {
			t.Errorf("%s: %s", text, d)
		}
	}
}
