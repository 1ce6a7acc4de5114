package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jubako/jubako/pkg/hint"
)

func (a *app) cacheCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "cache", Short: "Look at the local cache, and prune it"}
	cmd.AddCommand(
		&cobra.Command{
			Use: "dir", Short: "Print the cache's folder", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				dir, err := a.storeDir()
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.stdout, dir)
				return err
			},
		},
		&cobra.Command{
			Use: "du", Short: "Print what the cache takes on disk", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return a.cacheUsage() },
		},
		a.cachePruneCmd(),
	)
	return cmd
}

func (a *app) cacheUsage() error {
	store, err := a.store()
	if err != nil {
		return err
	}
	defer store.Close()
	usage, err := store.Usage()
	if err != nil {
		return err
	}
	var entries int
	var bytes int64
	for _, u := range usage {
		fmt.Fprintf(a.stdout, "%-10s %8d  %10s\n", u.Kind, u.Entries, size(u.Bytes))
		entries += u.Entries
		bytes += u.Bytes
	}
	_, err = fmt.Fprintf(a.stdout, "%-10s %8d  %10s\n", "total", entries, size(bytes))
	return err
}

func (a *app) cachePruneCmd() *cobra.Command {
	var keep string
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove what was used least recently, until --keep remains",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			n, err := parseSize(keep)
			if err != nil {
				return hint.Usage(fmt.Errorf("--keep %s: %w", keep, err))
			}
			store, err := a.store()
			if err != nil {
				return err
			}
			defer store.Close()
			removed, err := store.Prune(n)
			if err != nil {
				return hint.Wrap(err, "prune when no build runs")
			}
			_, err = fmt.Fprintf(a.stdout, "removed %d entries, %s\n", removed.Entries, size(removed.Bytes))
			return err
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "10GB", "how much may stay: 500MB, 10GB, 0")
	return cmd
}

// parseSize reads a decimal size: a number, and B, kB, MB or GB behind it.
func parseSize(s string) (int64, error) {
	unit := int64(1)
	number := s
	for suffix, u := range map[string]int64{"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			number, unit = rest, u
		}
	}
	if unit == 1 {
		number = strings.TrimSuffix(s, "B")
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || math.IsNaN(f) || math.Signbit(f) || f*float64(unit) > 1<<62 {
		return 0, fmt.Errorf("%q is no size: write 500MB or 10GB", s)
	}
	return int64(f * float64(unit)), nil
}
