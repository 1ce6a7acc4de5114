package project

import (
	"strings"
	"testing"
)

// TestKeyHasPlaces: the same files below another module's name are another wheel, though nothing else differs.
func TestKeyHasPlaces(t *testing.T) {
	text := strings.Replace(pyproject, "[project.scripts]\nchord = \"chord_ify:main\"\n", "", 1) + "[tool.uv.build-backend]\nmodule-name = \"chord_ify\"\n"
	a := options(t, text, "src/chord_ify/__init__.py")
	b := options(t, strings.Replace(text, `"chord_ify"`, `"other"`, 1), "src/other/__init__.py")
	a.Editable, b.Editable = false, false
	if layer(t, a).Key() == layer(t, b).Key() {
		t.Error("the key does not depend on where the files go")
	}
}
