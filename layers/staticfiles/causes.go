package staticfiles

import (
	"regexp"

	"github.com/jubako/jubako/pkg/step"
)

// advice spells the remedies for a failure of collectstatic.
func advice(workdir string) step.Advice {
	re := regexp.MustCompile
	return step.Advice{Table: "[tool.jubako.staticfiles]", Without: "leave the layer out with [tool.jubako] staticfiles = false", Workdir: workdir, More: []step.Cause{
		{Pattern: re(`without having set the STATIC_ROOT setting`), Remedy: step.Says(
			`set STATIC_ROOT = BASE_DIR / "staticfiles" in the settings, or leave the layer out with [tool.jubako] staticfiles = false`)},
		{Pattern: re(`MissingFileError: The file '([^']+)' could not be found`), Remedy: step.Says(`a style sheet or script names %s, which no app's static folder holds`)},
		{Pattern: re(`Missing staticfiles manifest entry for '([^']+)'`), Remedy: step.Says(`something wants the static file %s, which is not collected`)},
	}}
}
