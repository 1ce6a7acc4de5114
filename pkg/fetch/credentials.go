package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
)

// Policy says when an index's credentials are sent (uv's `authenticate`).
type Policy string

// The policies. Auto sends them at once to the index they are for, and elsewhere on the host when asked.
const (
	Auto   Policy = ""
	Always Policy = "always"
	Never  Policy = "never"
)

// Index is a package index with a name, as [[tool.uv.index]] has it.
type Index struct {
	Name   string
	URL    string
	Policy Policy
}

// Credentials knows who may ask where. A nil *Credentials knows nobody.
type Credentials struct {
	Indexes []Index
	// Getenv gives a variable: UV_INDEX_<NAME>_USERNAME and _PASSWORD are read. Nil reads none.
	Getenv func(string) string
	// Netrc is the path of a netrc file; "" for none.
	Netrc string
	// Keyring asks the `keyring` program where nothing else is known.
	Keyring bool

	netrc lazyOnce[[]machine]
}

// lookUp gives the credentials that go with the first request, and a way to those that wait for the server to ask.
func (c *Credentials) lookUp(ctx context.Context, u *url.URL) (first *url.Userinfo, onDemand func() (*url.Userinfo, error), err error) {
	if u.User != nil {
		return u.User, nil, nil
	}
	if c == nil {
		return nil, nil, nil
	}
	var realm *url.Userinfo
	for _, i := range c.Indexes {
		root, err := url.Parse(i.URL)
		if err != nil {
			continue
		}
		user := c.userOf(i, root)
		if user == nil || origin(root) != origin(u) || i.Policy == Never {
			continue
		}
		if below(u.Path, indexRoot(root.Path)) || i.Policy == Always {
			return user, nil, nil
		}
		if realm == nil {
			realm = user
		}
	}
	return nil, func() (*url.Userinfo, error) {
		if realm != nil {
			return realm, nil
		}
		return c.others(ctx, u)
	}, nil
}

// userOf gives an index's credentials: the environment's beat those in its URL.
func (c *Credentials) userOf(i Index, root *url.URL) *url.Userinfo {
	if i.Name != "" && c.Getenv != nil {
		name := strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z':
				return r - 'a' + 'A'
			case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
				return r
			}
			return '_'
		}, i.Name)
		user, pass := c.Getenv("UV_INDEX_"+name+"_USERNAME"), c.Getenv("UV_INDEX_"+name+"_PASSWORD")
		if user != "" || pass != "" {
			return url.UserPassword(user, pass)
		}
	}
	return root.User
}

// indexRoot is an index's path without the part that every index has: /simple or /+simple.
func indexRoot(p string) string {
	p = strings.TrimSuffix(p, "/")
	for _, s := range []string{"/simple", "/+simple"} {
		if r, ok := strings.CutSuffix(p, s); ok {
			return r
		}
	}
	return p
}

// below compares paths by whole segments.
func below(p, root string) bool {
	return root == "" || p == root || strings.HasPrefix(p, root+"/")
}

// others asks the netrc file, and then keyring.
func (c *Credentials) others(ctx context.Context, u *url.URL) (*url.Userinfo, error) {
	if c.Netrc != "" {
		machines, err := c.netrc.get(c.Netrc, func() ([]machine, error) { return readNetrc(c.Netrc) })
		if err != nil {
			return nil, err
		}
		for _, m := range machines {
			if m.name == u.Hostname() || m.name == "" {
				return url.UserPassword(m.login, m.password), nil
			}
		}
	}
	if !c.Keyring {
		return nil, nil
	}
	cmd := exec.CommandContext(ctx, "keyring", "get", u.Scheme+"://"+u.Host, "__token__")
	out, err := cmd.Output()
	if err != nil || len(bytes.TrimSpace(out)) == 0 {
		return nil, nil // keyring knows nothing: the server's refusal is the error
	}
	return url.UserPassword("__token__", strings.TrimSpace(string(out))), nil
}

// machine is an entry of a netrc file; the default entry has no name.
type machine struct{ name, login, password string }

// maxNetrc bounds a netrc file in bytes.
const maxNetrc = 1 << 20

func readNetrc(file string) ([]machine, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("reading credentials: %w", err))
	}
	machines, err := parseNetrc(b)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("reading %s: %w", file, err))
	}
	return machines, nil
}

// parseNetrc reads the format of ftp(1): tokens machine, default, login, password, account and macdef. A # starts a
// comment at the start of a token's line place; macros are passed over.
func parseNetrc(b []byte) ([]machine, error) {
	if len(b) > maxNetrc {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", len(b), maxNetrc)
	}
	var all []machine
	macro := false
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		if macro {
			macro = strings.TrimSpace(line) != ""
			continue
		}
		tokens := strings.Fields(line)
		for i := 0; i < len(tokens); i++ {
			if strings.HasPrefix(tokens[i], "#") {
				break
			}
			if tokens[i] == "default" {
				all = append(all, machine{})
				continue
			}
			if i+1 == len(tokens) {
				return nil, fmt.Errorf("line %d: %s has no value behind it on its line", n, tokens[i])
			}
			value := tokens[i+1]
			i++
			switch tokens[i-1] {
			case "machine":
				all = append(all, machine{name: value})
			case "login", "password", "account":
				if len(all) == 0 {
					return nil, fmt.Errorf("line %d: %s comes before any machine", n, tokens[i-1])
				}
				m := &all[len(all)-1]
				switch tokens[i-1] {
				case "login":
					m.login = value
				case "password":
					m.password = value
				}
			case "macdef":
				macro = true
			default:
				return nil, fmt.Errorf("line %d: %q is no word of a netrc file", n, tokens[i-1])
			}
		}
	}
	return all, nil
}
