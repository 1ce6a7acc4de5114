package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/lazyre"
)

// ownVariable is the annotation of a flag whose variable is not JUBAKO_<FLAG>.
const ownVariable = "jubako_variable"

// variable names the variable of a flag.
func variable(f *pflag.Flag) string {
	if own := f.Annotations[ownVariable]; own != nil {
		return own[0]
	}
	return "JUBAKO_" + upper(f.Name)
}

func upper(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

// outputFormat is --format of a verb that prints. Its variable is JUBAKO_<VERB>_FORMAT: JUBAKO_FORMAT is build's, for media types.
func outputFormat(cmd *cobra.Command) *string {
	format := cmd.Flags().String("format", "text", "text or json")
	cmd.Flags().Lookup("format").Annotations = map[string][]string{ownVariable: {"JUBAKO_" + upper(cmd.Name()) + "_FORMAT"}}
	return format
}

// checkFormat holds the value of such a flag against what there is.
func checkFormat(format string) error {
	if format != "text" && format != "json" {
		return hint.Usage(fmt.Errorf("--format is text or json, not %q", format))
	}
	return nil
}

// flagsFromEnv gives every flag that was not typed the value of its variable, where there is one. A list is separated
// by commas, as a cobra list flag is; a repeatable flag whose values may hold commas takes one value a line.
func (a *app) flagsFromEnv(flags *pflag.FlagSet) error {
	var errs []error
	a.fromEnv = make(map[string]string)
	flags.VisitAll(func(f *pflag.Flag) {
		name := variable(f)
		value, ok := a.lookupEnv(name)
		if f.Changed || !ok || value == "" {
			return
		}
		a.fromEnv["--"+f.Name], a.fromEnv["-"+f.Shorthand] = name, name
		values := []string{value}
		if f.Value.Type() == "stringArray" {
			values = strings.Split(value, "\n")
		}
		for _, v := range values {
			if err := flags.Set(f.Name, v); err != nil {
				errs = append(errs, hint.Usage(fmt.Errorf("reading %s=%s: %w", name, value, err)))
			}
		}
	})
	return errors.Join(errs...)
}

var flagRE = lazyre.New(`(^|[ (])--?[a-z][a-z-]*`)

// namingVariables puts in the place of a flag that nobody has typed, in an error, the variable that gave its value.
func (a *app) namingVariables(err error) error {
	if hint.KindOf(err) != hint.KindUsage { // others hold what a command has printed
		return err
	}
	return errors.New(flagRE().ReplaceAllStringFunc(err.Error(), func(match string) string {
		flag := strings.TrimLeft(match, " (")
		if name, ok := a.fromEnv[flag]; ok {
			return strings.TrimSuffix(match, flag) + name
		}
		return match
	}))
}
