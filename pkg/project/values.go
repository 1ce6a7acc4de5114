package project

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/jubako/jubako/pkg/accounts"
	"github.com/jubako/jubako/pkg/hint"
)

// ports reads 8000 and "8000/udp".
func ports(raw []any) ([]string, error) {
	var all []string
	for _, p := range raw {
		text := fmt.Sprint(p)
		number, proto, ok := strings.Cut(text, "/")
		if !ok {
			proto = "tcp"
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > 65535 || proto != "tcp" && proto != "udp" && proto != "sctp" {
			return nil, badKey("expose", "%q is no port", text)
		}
		if plain := strconv.Itoa(n); plain != number {
			return nil, hint.Wrap(badKey("expose", "%q is no port as engines write it", text), "write %s", plain)
		}
		all = append(all, number+"/"+proto)
	}
	if raw != nil && all == nil {
		all = []string{}
	}
	return all, nil
}

// decodeTable decodes a table that may stand where another type may stand too.
func decodeTable(key string, v any, into any) error {
	t, ok := v.(map[string]any)
	if !ok {
		return badKey(key, "a table is wanted here, not %v", v)
	}
	b, err := toml.Marshal(t)
	if err != nil {
		return err
	}
	if err := toml.Unmarshal(b, into); err != nil {
		if de, ok := errors.AsType[*toml.DecodeError](err); ok {
			return badKey(key+"."+strings.Join(de.Key(), "."), "%s", plainly(de))
		}
		return badKey(key, "%w", err)
	}
	return nil
}

func readUser(v any) (User, error) {
	switch v := v.(type) {
	case nil:
		return User{Name: "app", UID: -1, GID: -1}, nil
	case string:
		return namedUser("user", v)
	case int64:
		return namedUser("user", strconv.FormatInt(v, 10))
	}
	var r rawUser
	if err := decodeTable("user", v, &r); err != nil {
		return User{}, err
	}
	u, err := namedUser("user.name", cmp.Or(r.Name, "app"))
	if err != nil {
		return User{}, err
	}
	for _, x := range []struct {
		key  string
		from *int
		to   *int
	}{{"user.uid", r.UID, &u.UID}, {"user.gid", r.GID, &u.GID}} {
		if x.from == nil {
			continue
		}
		if *x.from < 0 || *x.from > accounts.MaxID {
			return User{}, badKey(x.key, "%d is no id: they go from 0 to %d", *x.from, accounts.MaxID)
		}
		*x.to = *x.from
	}
	return u, nil
}

func namedUser(key, name string) (User, error) {
	if _, err := accounts.ParseRequest(name); err != nil {
		return User{}, badKey(key, "%w", err)
	}
	return User{Name: name, UID: -1, GID: -1}, nil
}

func readHealthcheck(v any) (*Healthcheck, error) {
	if v == nil {
		return nil, nil
	}
	var r rawHealthcheck
	if err := decodeTable("healthcheck", v, &r); err != nil {
		return nil, err
	}
	h := &Healthcheck{URL: r.URL, Retries: r.Retries}
	switch cmd := r.Cmd.(type) {
	case nil:
	case string:
		if h.Shell = cmd; strings.TrimSpace(cmd) == "" {
			return nil, badKey("healthcheck.cmd", "the command is empty")
		}
	case []any:
		var err error
		if h.Cmd, err = strs("healthcheck.cmd", cmd); err != nil {
			return nil, err
		}
		if len(h.Cmd) == 0 || h.Cmd[0] == "" {
			return nil, badKey("healthcheck.cmd", "the command is empty")
		}
	default:
		return nil, badKey("healthcheck.cmd", "a string or a list of strings is wanted, not %v", cmd)
	}
	if (r.URL != "") == (r.Cmd != nil) {
		return nil, badKey("healthcheck", "one of cmd and url is wanted")
	}
	for _, x := range []struct {
		key, from string
		to        *time.Duration
	}{{"interval", r.Interval, &h.Interval}, {"timeout", r.Timeout, &h.Timeout}, {"start-period", r.StartPeriod, &h.StartPeriod}, {"start-interval", r.StartIntvl, &h.StartIntvl}} {
		if x.from == "" {
			continue
		}
		d, err := time.ParseDuration(x.from)
		if err != nil || d < time.Millisecond {
			return nil, badKey("healthcheck."+x.key, "%q is no duration such as 30s", x.from)
		}
		*x.to = d
	}
	if r.Retries < 0 {
		return nil, badKey("healthcheck.retries", "%d is no number of tries", r.Retries)
	}
	if u, err := url.Parse(r.URL); r.URL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "") {
		return nil, badKey("healthcheck.url", "%q is no URL such as http://localhost:8000/health/", r.URL)
	}
	return h, nil
}

// checkVariables refuses names that no environment holds, and NUL, which ends a variable (environ(7)).
func checkVariables(key string, env map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return badKey(key+"."+name, "%q is no name of a variable", name)
		}
		if strings.ContainsRune(env[name], 0) {
			return badKey(key+"."+name, "the value holds a NUL")
		}
	}
	return nil
}

func readStaticfiles(v any) (Staticfiles, error) {
	switch v := v.(type) {
	case nil:
		return Staticfiles{}, nil
	case bool:
		if v {
			return Staticfiles{Set: true}, nil
		}
		return Staticfiles{Off: true}, nil
	}
	var r rawStaticfiles
	if err := decodeTable("staticfiles", v, &r); err != nil {
		return Staticfiles{}, err
	}
	if len(r.Command) > 0 && r.Command[0] == "" {
		return Staticfiles{}, badKey("staticfiles.command", "the command is empty")
	}
	return Staticfiles{Set: true, Command: r.Command, Output: r.Output, Env: r.Env}, checkVariables("staticfiles.env", r.Env)
}
