package staticfiles

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/lazyre"
	"github.com/jubako/jubako/pkg/step"
)

const (
	// answerMark begins the line with the answer; settings modules may print what they like around it.
	answerMark  = "\x1ejubako "
	answerLines = 400 // the last, among which the answer is
)

// askScript lets manage.py set up its environment as always, settings module and .env files included, and then looks at
// the settings instead of running a management command. No app is loaded for it.
const askScript = `
import json, os, runpy, sys
from django.core import management
management.execute_from_command_line = lambda argv=None: None
management.ManagementUtility.execute = lambda self: None
manage = sys.argv[1]
sys.argv = [manage, "collectstatic", "--noinput"]
sys.path[0] = os.path.dirname(manage)
try:
    runpy.run_path(manage, run_name="__main__")
except SystemExit:
    pass
from django.conf import settings
root = settings.STATIC_ROOT
sys.stdout.write("\n` + `\x1ejubako " + json.dumps(os.path.abspath(root) if root else "") + "\n")
`

// copied is the last that collectstatic says, with where the files went if that is a folder: what Django's settings say, or the
// storage.
var copied = lazyre.New(`^[0-9]+ static files? (?:copied|symlinked) to '(/.*)'(?:, [0-9]+ unmodified)?(?:, [0-9]+ post-processed)?\.$`)

// destination is where the command says that it has put the files; empty where it does not say it.
func destination(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if m := copied().FindStringSubmatch(lines[i]); m != nil && path.Clean(m[1]) == m[1] {
			return m[1]
		}
	}
	return ""
}

// askStaticRoot asks Django's settings, in the sandbox, where collectstatic puts its files. The command is to be that of collectstatic,
// but for what it asks.
func (l *Layer) askStaticRoot(ctx context.Context, c step.Command) (string, error) {
	// The answer may well be a value of the environment, so that nothing is struck out of stdout.
	answer := step.NewRecorder(nil, nil)
	c.Argv = []string{"python", "-c", askScript, l.o.abs(l.o.Manage)}
	c.Title, c.Log, c.Stdout = "python -c print(settings.STATIC_ROOT)", nil, answer
	res, err := step.Run(ctx, c)
	if err != nil {
		return "", err
	}
	l.looks.Ran(without(res.Seen))
	if err := res.Close(); err != nil {
		return "", err
	}
	root, err := parseAnswer(answer.LastLines(answerLines))
	if err != nil {
		return "", err
	}
	if root == "" {
		return "", hint.Wrap(errors.New("STATIC_ROOT is not set in Django's settings, so that it is not known where collectstatic puts its files"),
			"set STATIC_ROOT = BASE_DIR / \"staticfiles\" in the settings, or [tool.jubako.staticfiles] output = \"…\", or staticfiles = false")
	}
	return root, nil
}

func parseAnswer(lines []string) (string, error) {
	for i := len(lines) - 1; i >= 0; i-- {
		if answer, ok := strings.CutPrefix(lines[i], answerMark); ok {
			var root string
			if err := json.Unmarshal([]byte(answer), &root); err != nil {
				return "", fmt.Errorf("asking Django for STATIC_ROOT: its answer %.200q: %w", answer, err)
			}
			return root, nil
		}
	}
	return "", errors.New("asking Django for STATIC_ROOT: it gave no answer")
}
