package caddylti

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-lti/lti/internal/command"
	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/bolt"
	"github.com/caddy-lti/lti/store/redis"
)

func storeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "store", Short: "What Caddy keeps, while it is stopped"}
	command.Group(cmd)
	cmd.AddCommand(&cobra.Command{
		Use:   "copy FILE URL",
		Short: "Copy what is in the file of the store bolt to the Redis server of the store redis",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			at, err := redisAddress(args[1])
			if err != nil {
				return err
			}
			copied, there, err := copyStore(cmd.Context(), args[0], at)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d records were copied to %s; %d were there already and stay as they are.\n", copied, at, there)
			return err
		},
	})
	return cmd
}

// copyStore copies what lives in a file. What the server has already may be newer,
// and is left alone, so that it can be done again.
func copyStore(ctx context.Context, path string, to *redis.Address) (copied, there int, err error) {
	if _, err := os.Stat(path); err != nil { // Open would make one
		return 0, 0, fmt.Errorf("store file: %w", err)
	}
	from, err := bolt.Open(path, bolt.Options{})
	if errors.Is(err, bolt.ErrLocked) {
		return 0, 0, fmt.Errorf("store file %s: stop Caddy first, which is writing to it", path)
	}
	if err != nil {
		return 0, 0, err
	}
	defer from.Close()
	onto, err := redis.Open(ctx, to, redis.Options{})
	if err != nil {
		return 0, 0, err
	}
	defer onto.Close()
	err = from.Each(ctx, func(r store.Record, left time.Duration) error {
		put, err := onto.PutIfAbsent(ctx, r.Key, r.Value, left)
		if put {
			copied++
		} else {
			there++
		}
		return err
	})
	return copied, there, err
}
