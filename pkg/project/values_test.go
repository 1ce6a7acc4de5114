package project

import (
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/hint"
)

// TestValuesRefused: what no engine takes, and what nothing could come of, has the place where it is written.
func TestValuesRefused(t *testing.T) {
	for text, want := range map[string]string{
		`healthcheck = { cmd = "" }`:                        "f.toml:2:17: healthcheck.cmd: the command is empty",
		`healthcheck = { cmd = " " }`:                       "healthcheck.cmd: the command is empty",
		`healthcheck = { cmd = [] }`:                        "healthcheck.cmd: the command is empty",
		`healthcheck = { cmd = [""] }`:                      "healthcheck.cmd: the command is empty",
		`healthcheck = { url = "localhost:8000/health" }`:   "f.toml:2:17: healthcheck.url: ",
		`healthcheck = { url = "ftp:/x" }`:                  "healthcheck.url: ",
		`healthcheck = { url = "http:///health" }`:          "healthcheck.url: ",
		`healthcheck = { url = "http://localhost:$PORT/" }`: "healthcheck.url: ",
		`stop-signal = "SIGFOO"`:                            `f.toml:2:1: stop-signal: "SIGFOO" is no signal`,
		`expose = ["+80"]`:                                  "write 80",
		`expose = ["080/tcp"]`:                              "write 80",
		`staticfiles = { output = "." }`:                    "holds the project itself",
		`staticfiles = { output = ".venv/x" }`:              "the virtual environment .venv",
		`staticfiles = { command = [""] }`:                  "f.toml:2:17: staticfiles.command: the command is empty",
		`staticfiles = { env = { "A=B" = "x" } }`:           `f.toml:2:25: staticfiles.env.A=B: "A=B" is no name of a variable`,
		`env = { "A=B" = "x" }`:                             `f.toml:2:9: env.A=B: "A=B" is no name of a variable`,
		`env = { "" = "x" }`:                                `"" is no name of a variable`,
		`env = { A = "\u0000" }`:                            "f.toml:2:9: env.A: the value holds a NUL",
		`workdir = "/a\nb"`:                                 "f.toml:2:1: workdir: ",
		`user = ""`:                                         "f.toml:2:1: user: ",
		`user = -5`:                                         "f.toml:2:1: user: ",
		`user = "4294967295"`:                               "f.toml:2:1: user: ",
		`user = { name = "Bad" }`:                           "f.toml:2:10: user.name: ",
		`user = { uid = -1 }`:                               "f.toml:2:10: user.uid: -1 is no id",
		`user = { gid = 4294967295 }`:                       "f.toml:2:10: user.gid: 4294967295 is no id",
	} {
		_, err := parse("f.toml", []byte("[tool.jubako]\n"+text+"\n"), DefaultProfile, nil)
		if err == nil || hint.KindOf(err) != hint.KindUsage || !strings.Contains(err.Error()+" "+hint.Of(err), want) {
			t.Errorf("%s: %v (%s) lacks %q", text, err, hint.Of(err), want)
		}
	}
}

// TestValuesTaken: what real projects write stays as it is.
func TestValuesTaken(t *testing.T) {
	for _, text := range []string{
		`healthcheck = { cmd = "curl -f http://localhost:${PORT:-8000}/ || exit 1" }`, `healthcheck = { cmd = ["python", "check.py", ""] }`,
		`healthcheck = { url = "http://127.0.0.1:8000/health/?full=1" }`, `healthcheck = { url = "https://[::1]:8443/" }`,
		`stop-signal = "SIGQUIT"`, `stop-signal = "term"`, `stop-signal = "3"`, `stop-signal = "SIGRTMIN+3"`,
		`expose = [8000, "8001", "53/udp", "5000/sctp"]`,
		`staticfiles = { output = "static/" }`, `staticfiles = { output = "/app/static" }`, `staticfiles = { output = "/public_collected" }`, `staticfiles = { env = { "a.b" = "", SECRET_KEY = "a=b\nc" } }`,
		`env = { "spring.profile" = "x=y" }`, `user = 1000`, `user = "1000:1000"`, `user = "root"`, `user = { uid = 0, gid = 0, name = "root" }`,
	} {
		if _, err := parse("f.toml", []byte("[tool.jubako]\n"+text+"\n"), DefaultProfile, nil); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
