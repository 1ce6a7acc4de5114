package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/registry"
)

func (a *app) registryCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "registry", Short: "A registry on this machine"}
	var listen, dir string
	var everyone bool
	serve := &cobra.Command{
		Use:   "serve",
		Short: "Serve a registry that is kept in a folder",
		Long: `Serve a registry that is kept in a folder, until it is interrupted. It has no accounts and no TLS:
it is for this machine, for tests, and for sites of their own network. Its address is printed on
standard output once it listens.`,
		Example: "  jubako registry serve --listen 127.0.0.1:5000 --dir ./registry",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.serveRegistry(cmd.Context(), listen, dir, everyone)
		},
	}
	serve.Flags().StringVar(&listen, "listen", "127.0.0.1:5000", "`ADDRESS` to listen on; port 0 takes a free one")
	serve.Flags().StringVar(&dir, "dir", "registry", "the `DIR` that holds it")
	serve.Flags().BoolVar(&everyone, "allow-remote", false, "listen on an address that other machines reach: whoever reaches it can push")
	cmd.AddCommand(serve)
	return cmd
}

// staleAfter is how long an upload may lie untouched before it is taken for abandoned.
const staleAfter = 24 * time.Hour

// shutdownGrace is how long running requests may take after an interrupt.
const shutdownGrace = 5 * time.Second

func (a *app) serveRegistry(ctx context.Context, listen, dir string, everyone bool) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return hint.Usage(fmt.Errorf("--listen %s: %w", listen, err))
	}
	if ip := net.ParseIP(host); !everyone && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return hint.Wrap(hint.Usage(fmt.Errorf("--listen %s is not the loopback interface, and the registry has no accounts", listen)), "--allow-remote listens there all the same")
	}
	handler, err := registry.New(dir, a.debug)
	if err != nil {
		return err
	}
	if err := handler.RemoveStale(a.now().Add(-staleAfter)); err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return hint.Wrap(hint.Network(fmt.Errorf("listening: %w", err)), "choose another port with --listen")
	}
	if _, err := fmt.Fprintf(a.stdout, "http://%s\n", l.Addr()); err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		stopped <- server.Shutdown(grace)
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	if err := <-stopped; err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return ctx.Err()
}
