package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completeWait is how long a shell's completion waits for the appliance; without an answer it completes nothing.
const completeWait = 2 * time.Second

type completion = func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// complete offers the first of keys that an item of the list has, with the words of about beside it.
func (r *remote) complete(path string, keys []string, about ...string) completion {
	return func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(c.Context(), completeWait)
		defer cancel()
		items, err := r.items(ctx, path)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, it := range items {
			word := ""
			for _, k := range keys {
				// A colon ends a word for bash; the API takes MACs with hyphens too.
				if word = strings.ReplaceAll(cell(it[k]), ":", "-"); word != "" {
					break
				}
			}
			if word == "" || !strings.HasPrefix(word, typed) || slices.Contains(args, word) {
				continue
			}
			var words []string
			for _, k := range about {
				if s := cell(it[k]); s != "" {
					words = append(words, s)
				}
			}
			out = append(out, word+"\t"+strings.Join(words, ", "))
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeHosts offers machines for every command below cmd that takes them.
func (r *remote) completeHosts(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		takes, many := strings.Contains(sub.Use, " HOST"), strings.Contains(sub.Use, "HOST…")
		if !takes {
			continue
		}
		hosts := r.complete("/hosts?limit=500", []string{"name", "mac", "id"}, "state", "role")
		sub.ValidArgsFunction = func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 && !many {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return hosts(c, args, typed)
		}
	}
}

// completeRole offers the hive's roles for --role.
func (r *remote) completeRole(cmd *cobra.Command) {
	if err := cmd.RegisterFlagCompletionFunc("role", r.complete("/roles", []string{"name"}, "description")); err != nil {
		panic(err) // the flag is not declared: a mistake in this program, which every test meets
	}
}

// completeWords offers fixed words for a flag.
func completeWords(cmd *cobra.Command, flag string, words ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // as above
	}
}
