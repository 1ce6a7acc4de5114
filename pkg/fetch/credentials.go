package fetch

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"sync"

	"github.com/jubako/jubako/pkg/hint"
)

// Policy says when an index's credentials are sent (uv's `authenticate`).
type Policy string

// The policies. Auto sends them at once to the index they are for, and elsewhere on the host when asked. Always makes no
// request to the index without credentials, and Never none with.
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

// Credentials knows who may ask where. A nil *Credentials knows nobody. It must not be copied after its first use.
type Credentials struct {
	Indexes []Index
	// Getenv gives a variable: UV_INDEX_<NAME>_USERNAME and _PASSWORD are read. Nil reads none.
	Getenv func(string) string
	// Netrc is the path of a netrc file; "" for none.
	Netrc string
	// Keyring asks the `keyring` program where nothing else is known.
	Keyring bool

	netrc    lazyOnce[[]machine]
	keyring  lazyOnce[*url.Userinfo]
	mu       sync.Mutex
	accepted map[string]*url.Userinfo // by origin: what a server has asked for and taken
}

// lookUp gives the credentials that go with the first request, and a way to those that wait for the server to ask.
func (c *Credentials) lookUp(ctx context.Context, u *url.URL) (first *url.Userinfo, onDemand func() (*url.Userinfo, error), err error) {
	if u.User != nil {
		first, err := c.complete(ctx, u, u.User)
		return first, nil, err
	}
	if c == nil {
		return nil, nil, nil
	}
	index, user, realm := c.match(u)
	always := index != nil && index.Policy == Always || realm.always
	if index != nil && index.Policy == Never {
		return nil, nil, nil
	}
	others := func() (*url.Userinfo, error) {
		if realm.user != nil {
			return c.complete(ctx, u, realm.user)
		}
		return c.others(ctx, u, "")
	}
	switch {
	case user != nil:
		first, err := c.complete(ctx, u, user)
		return first, nil, err
	case always:
		first, err := others()
		if err == nil && first == nil {
			err = hint.Wrap(hint.Usage(fmt.Errorf("%s is to be asked with credentials only, and there are none for it", redact(u.String()))),
				"%s", c.remedy(u))
		}
		return first, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.accepted[origin(u)]; known != nil {
		return known, nil, nil
	}
	return nil, others, nil
}

// accept remembers what a server has asked for and taken, so that the next request has it from the start.
func (c *Credentials) accept(u *url.URL, user *url.Userinfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.accepted == nil {
		c.accepted = make(map[string]*url.Userinfo)
	}
	c.accepted[origin(u)] = user
}

// realm is what the indexes of one scheme, host and port have in common: the first one's credentials, and whether one of
// them is to be asked with credentials only.
type realm struct {
	user   *url.Userinfo
	always bool
}

// match finds the index that a URL lies in, the deepest one, with its credentials; and what is known of its realm.
func (c *Credentials) match(u *url.URL) (in *Index, user *url.Userinfo, r realm) {
	depth := -1
	for i := range c.Indexes {
		index := &c.Indexes[i]
		at, err := url.Parse(index.URL)
		if err != nil || origin(at) != origin(u) {
			continue
		}
		has := c.userOf(index, at)
		root := indexRoot(at.Path)
		if below(u.Path, root) && len(root) > depth {
			in, user, depth = index, has, len(root)
		}
		if has != nil && r.user == nil && index.Policy != Never {
			r = realm{has, index.Policy == Always}
		}
	}
	return in, user, r
}

// userOf gives an index's credentials: the environment's beat those in its URL.
func (c *Credentials) userOf(i *Index, at *url.URL) *url.Userinfo {
	if i.Name == "" || c.Getenv == nil {
		return at.User
	}
	v := variable(i.Name)
	user, pass := c.Getenv(v+"_USERNAME"), c.Getenv(v+"_PASSWORD")
	if user == "" && at.User != nil {
		user = at.User.Username()
	}
	switch {
	case pass != "":
		return url.UserPassword(user, pass)
	case user != "" && (at.User == nil || user != at.User.Username()):
		return url.User(user)
	}
	return at.User
}

// variable is what the names of an index's variables start with.
func variable(index string) string {
	return "UV_INDEX_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, index)
}

// remedy says where credentials for a URL can be put.
func (c *Credentials) remedy(u *url.URL) string {
	name := "UV_INDEX_<NAME>"
	if c != nil {
		if in, _, _ := c.match(u); in != nil && in.Name != "" {
			name = variable(in.Name)
		}
	}
	return fmt.Sprintf("set %s_USERNAME and %s_PASSWORD, or add %s to .netrc", name, name, u.Hostname())
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

// complete looks for the password of a user who comes without. Where there is none, the name alone is sent: some servers
// take a token so.
func (c *Credentials) complete(ctx context.Context, u *url.URL, user *url.Userinfo) (*url.Userinfo, error) {
	if _, has := user.Password(); has || c == nil || user.Username() == "" {
		return user, nil
	}
	if _, of, _ := c.match(u); of != nil && of.Username() == user.Username() {
		if _, has := of.Password(); has {
			return of, nil
		}
	}
	found, err := c.others(ctx, u, user.Username())
	if err != nil || found == nil {
		return user, err
	}
	return found, nil
}

// others asks the netrc file, and then keyring; for the user, where one is known.
func (c *Credentials) others(ctx context.Context, u *url.URL, user string) (*url.Userinfo, error) {
	if c.Netrc != "" {
		machines, err := c.netrc.get(c.Netrc, func() ([]machine, error) { return readNetrc(c.Netrc) })
		if err != nil {
			return nil, err
		}
		if found := netrcFor(machines, u.Hostname(), user); found != nil {
			return found, nil
		}
	}
	if !c.Keyring {
		return nil, nil
	}
	service := u.Scheme + "://" + u.Host
	if in, _, _ := c.match(u); in != nil {
		service = redact(in.URL)
	}
	return c.keyring.get(service+" "+user, func() (*url.Userinfo, error) {
		for _, s := range []string{service, u.Host} {
			if found := askKeyring(ctx, s, user); found != nil {
				return found, nil
			}
		}
		return nil, ctx.Err()
	})
}

// askKeyring runs the `keyring` program. That it knows nothing, or is not there, is no error: the server's refusal will be.
func askKeyring(ctx context.Context, service, user string) *url.Userinfo {
	args := []string{"get", service, user}
	if user == "" { // keyring 25.2 and later can tell the name as well
		args = []string{"--mode", "creds", "get", service}
	}
	out, err := exec.CommandContext(ctx, "keyring", args...).Output()
	out = bytes.TrimRight(out, "\r\n")
	if err != nil || len(out) == 0 {
		return nil
	}
	if user != "" {
		return url.UserPassword(user, string(out))
	}
	name, pass, ok := strings.Cut(string(out), "\n")
	if !ok {
		return nil
	}
	return url.UserPassword(strings.TrimSuffix(name, "\r"), pass)
}
