package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/regclient"
)

// maxPassword bounds what is read from standard input.
const maxPassword = 64 << 10

func (a *app) loginCmd() *cobra.Command {
	var user string
	var fromStdin bool
	cmd := &cobra.Command{
		Use:     "login REGISTRY",
		Short:   "Store credentials for a registry, in Docker's own file",
		Example: "  echo \"$TOKEN\" | jubako login registry.example.com -u ci --password-stdin",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if user == "" || !fromStdin {
				return hint.Wrap(hint.Usage(errors.New("login needs a user and a password")), "echo \"$TOKEN\" | jubako login %s -u USER --password-stdin", args[0])
			}
			b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxPassword))
			if err != nil {
				return err
			}
			password := strings.TrimRight(string(b), "\r\n")
			if password == "" {
				return hint.Usage(errors.New("the password on standard input is empty"))
			}
			if err := regclient.Login(cmd.Context(), a.dockerConfig(), args[0], user, password); err != nil {
				return err
			}
			a.note("stored the credentials of %s for %s in %s", user, args[0], a.dockerConfig())
			return nil
		},
	}
	cmd.Flags().StringVarP(&user, "username", "u", "", "the user's name")
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	return cmd
}

func (a *app) logoutCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "logout REGISTRY",
		Short: "Remove the credentials for a registry",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := regclient.Logout(cmd.Context(), a.dockerConfig(), args[0])
			if errors.Is(err, regclient.ErrNotLoggedIn) {
				return hint.Usage(err)
			}
			if err != nil {
				return fmt.Errorf("logging out: %w", err)
			}
			a.note("removed the credentials for %s", args[0])
			return nil
		},
	}
}
