package project

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
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
		if n, err := strconv.Atoi(number); err != nil || n < 1 || n > 65535 || proto != "tcp" && proto != "udp" && proto != "sctp" {
			return nil, badKey("expose", "%q is no port", text)
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
		return User{Name: v, UID: -1, GID: -1}, nil
	case int64:
		return User{Name: strconv.FormatInt(v, 10), UID: -1, GID: -1}, nil
	}
	var r rawUser
	if err := decodeTable("user", v, &r); err != nil {
		return User{}, err
	}
	u := User{Name: cmp.Or(r.Name, "app"), UID: -1, GID: -1}
	for _, x := range []struct {
		from *int
		to   *int
	}{{r.UID, &u.UID}, {r.GID, &u.GID}} {
		if x.from == nil {
			continue
		}
		if *x.from < 0 {
			return User{}, badKey("user", "%d is no id", *x.from)
		}
		*x.to = *x.from
	}
	return u, nil
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
		h.Shell = cmd
	case []any:
		for _, a := range cmd {
			s, ok := a.(string)
			if !ok {
				return nil, badKey("healthcheck.cmd", "%v is no string", a)
			}
			h.Cmd = append(h.Cmd, s)
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
	return h, nil
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
	return Staticfiles{Set: true, Command: r.Command, Output: r.Output, Env: r.Env}, nil
}
