package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/jubako/jubako/pkg/hint"
)

// refuseUnknownWords gives the commands below root that hold others, and help, what root has of cobra: a word that names no
// command is an error. A command that holds others still shows its help where there is no word.
func refuseUnknownWords(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch {
		case c.Name() == "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				if about, rest, _ := root.Find(args); len(rest) > 0 && about.HasSubCommands() {
					return unknownCommand(about, rest[0])
				}
				return nil
			}
		case c.HasSubCommands():
			c.DisableFlagsInUseLine = true
			c.Args = func(cmd *cobra.Command, args []string) error {
				if len(args) == 0 {
					return pflag.ErrHelp
				}
				return unknownCommand(cmd, args[0])
			}
			c.Run = func(*cobra.Command, []string) {} // without which cobra does not look at the arguments
		}
	}
}

func unknownCommand(cmd *cobra.Command, word string) error {
	var known []string
	for _, c := range cmd.Commands() {
		known = append(known, c.Name())
	}
	err := fmt.Errorf("there is no command %q", cmd.CommandPath()+" "+word)
	if best := hint.Nearest(word, known); best != "" {
		return hint.Wrap(err, "did you mean %q?", cmd.CommandPath()+" "+best)
	}
	return hint.Wrap(err, "%s has %s", cmd.CommandPath(), strings.Join(known, ", "))
}

// misused is for what cobra says before a command runs: it was called as it cannot be. The terminal is made here then, of the
// flags before the mistake and those behind it.
func (a *app) misused(cmd *cobra.Command, args []string, err error) error {
	flags := cmd.Flags()
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	_ = flags.ParseAll(args, func(f *pflag.Flag, value string) error {
		_ = flags.Set(f.Name, value)
		return nil
	})
	_, _ = a.flagsFromEnv(flags), a.setUpTerminal()
	a.fromEnv = nil // a flag that cobra speaks of was typed
	depth := strings.Count(cmd.CommandPath(), " ")
	switch {
	case err == nil: // --help
		return nil
	case hint.Of(err) != "":
	case cmd.HasSubCommands() && flags.NArg() > depth: // of root; or a flag behind it was refused first
		err = unknownCommand(cmd, flags.Arg(depth))
	default:
		err = hint.Wrap(err, "write %s; %s --help says more", cmd.UseLine(), cmd.CommandPath())
	}
	return hint.Usage(err)
}
