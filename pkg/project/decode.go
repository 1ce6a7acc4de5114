package project

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/lazyre"
)

// undecoded is the error for a file that the decoder refuses, with the place and the key, as far as it knows them.
func undecoded(file string, err error) error {
	de, ok := errors.AsType[*toml.DecodeError](err)
	if !ok {
		return hint.Usage(fmt.Errorf("reading %s: %w", file, err))
	}
	what := plainly(de)
	if key := strings.Join(de.Key(), "."); key != "" {
		what = key + ": " + what
	}
	return hint.Usage(fmt.Errorf("reading %s: %s", position(file, de.Position), what))
}

var (
	goTypeRE  = lazyre.New(`cannot decode TOML ([a-z ]+) into (?:struct field .* of type )?\*?(.+)$`)
	noTableRE = lazyre.New(`cannot store an? (array )?table in a`)
)

// plainly says a wrong type in TOML's words: the decoder speaks of Go's.
func plainly(err error) string {
	if m := goTypeRE().FindStringSubmatch(err.Error()); m != nil {
		return fmt.Sprintf("%s is wanted, not a value of the type %s", inTOML(m[2]), m[1])
	}
	if noTableRE().MatchString(err.Error()) {
		return "a value of another type is wanted, not a table"
	}
	return strings.TrimPrefix(err.Error(), "toml: ")
}

// inTOML says what a value of a Go type is in TOML.
func inTOML(goType string) string {
	switch goType {
	case "string":
		return "a string"
	case "bool":
		return "true or false"
	case "int":
		return "a number"
	case "[]string":
		return "a list of strings"
	case "map[string]string":
		return "a table of strings"
	}
	switch {
	case strings.HasPrefix(goType, "[]interface"):
		return "a list"
	case strings.HasPrefix(goType, "[]"):
		return "a list of tables"
	}
	return "a table"
}
