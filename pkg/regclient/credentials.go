package regclient

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/jubako/jubako/pkg/atomicfile"
	"github.com/jubako/jubako/pkg/hint"
)

// maxConfigFile bounds a file of credentials in bytes.
const maxConfigFile = 4 << 20

// configFile is Docker's config.json, and podman's auth.json, which has the same form.
type configFile struct {
	Auths       map[string]authEntry `json:"auths"`
	CredHelpers map[string]string    `json:"credHelpers"`
	CredsStore  string               `json:"credsStore"`
}

type authEntry struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Keychain finds credentials in the configuration files, in their order. In a file the most specific entry wins, and an
// entry for a repository serves no other one.
func (c *Client) Keychain() authn.Keychain { return keychain{c.o.ConfigFiles} }

type keychain struct{ files []string }

// Resolve implements authn.Keychain.
func (k keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext implements authn.ContextKeychain.
func (k keychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	for _, file := range k.files {
		cf, err := readConfigFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		a, err := cf.find(ctx, target)
		if err != nil {
			return nil, fmt.Errorf("reading the credentials for %s: %w", target.RegistryStr(), err)
		}
		if a != nil {
			return authn.FromConfig(*a), nil
		}
	}
	return authn.Anonymous, nil
}

func readConfigFile(file string) (*configFile, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, hint.Usage(err)
	}
	cf, err := parseConfigFile(b)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("reading %s: %w", file, err))
	}
	return cf, nil
}

// parseConfigFile reads a configuration file's bytes. An empty file is one that says nothing.
func parseConfigFile(b []byte) (*configFile, error) {
	if len(b) > maxConfigFile {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", len(b), maxConfigFile)
	}
	var cf configFile
	if len(bytes.TrimSpace(b)) == 0 {
		return &cf, nil
	}
	if err := json.Unmarshal(b, &cf); err != nil {
		return nil, err
	}
	return &cf, nil
}

// keys gives the names under which an entry may stand, the most specific first: registry/team/app, registry/team,
// registry.
func keys(target authn.Resource) []string {
	var all []string
	rest := strings.TrimPrefix(target.String(), target.RegistryStr())
	for {
		for _, registry := range aliases(target.RegistryStr()) {
			all = append(all, registry+rest)
		}
		i := strings.LastIndexByte(rest, '/')
		if i < 0 {
			return all
		}
		rest = rest[:i]
	}
}

// aliases gives the names of a registry: the default one has two.
func aliases(registry string) []string {
	if short := strings.TrimPrefix(name.DefaultRegistry, "index."); registry == name.DefaultRegistry || registry == short {
		return []string{name.DefaultRegistry, short}
	}
	return []string{registry}
}

// normalise strips what Docker's keys may have around the registry's name. A repository that is called v1 keeps its name.
func normalise(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	key = strings.TrimSuffix(key, "/")
	if host, version, ok := strings.Cut(key, "/"); ok && (version == "v1" || version == "v2") {
		return host
	}
	return key
}

// matching gives the keys of a map that mean key: first the one that is written so, then the others in order.
func matching[V any](m map[string]V, key string) []string {
	var found []string
	for k := range m {
		if normalise(k) == key {
			found = append(found, k)
		}
	}
	slices.Sort(found)
	if i := slices.Index(found, key); i > 0 {
		found[0], found[i] = found[i], found[0]
	}
	return found
}

func (cf *configFile) find(ctx context.Context, target authn.Resource) (*authn.AuthConfig, error) {
	for _, key := range keys(target) {
		for _, k := range matching(cf.CredHelpers, key) {
			if a, err := askHelper(ctx, cf.CredHelpers[k], k); err != nil || a != nil {
				return a, err
			}
		}
		for _, k := range matching(cf.Auths, key) {
			if a, err := cf.Auths[k].config(); err != nil || a != nil {
				return a, err
			}
		}
	}
	if cf.CredsStore != "" {
		a, err := askHelper(ctx, cf.CredsStore, serverKey(target.RegistryStr()))
		if errors.Is(err, exec.ErrNotFound) {
			return nil, nil // a file that came from another machine: it must not keep anyone from what is public
		}
		return a, err
	}
	return nil, nil
}

// serverKey is the name that Docker gives a registry in a credential store.
func serverKey(registry string) string {
	if registry == name.DefaultRegistry {
		return authn.DefaultAuthKey
	}
	return registry
}

// config gives the entry's credentials, nil where it holds none (Docker leaves empty entries beside a store).
func (e authEntry) config() (*authn.AuthConfig, error) {
	a := authn.AuthConfig{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
	if e.Auth != "" {
		b, err := base64.StdEncoding.DecodeString(strings.TrimRight(e.Auth, "\x00"))
		user, pass, ok := strings.Cut(string(b), ":")
		if err != nil || !ok {
			return nil, hint.Usage(errors.New("the entry's auth is not the base64 of user:password"))
		}
		a.Username, a.Password = user, strings.TrimRight(pass, "\x00")
	}
	if a == (authn.AuthConfig{}) {
		return nil, nil
	}
	return &a, nil
}

// noCredentials is what a helper prints when it has none (docker-credential-helpers, "credentials not found").
const noCredentials = "credentials not found"

func askHelper(ctx context.Context, helper, server string) (*authn.AuthConfig, error) {
	out, err := runHelper(ctx, helper, "get", []byte(server))
	if err != nil {
		if strings.Contains(string(out)+err.Error(), noCredentials) {
			return nil, nil
		}
		return nil, err
	}
	var got struct{ Username, Secret string }
	if err := json.Unmarshal(out, &got); err != nil {
		return nil, hint.Usage(fmt.Errorf("docker-credential-%s: reading its answer: %w", helper, err))
	}
	if got.Username == "<token>" {
		return &authn.AuthConfig{IdentityToken: got.Secret}, nil
	}
	return &authn.AuthConfig{Username: got.Username, Password: got.Secret}, nil
}

func runHelper(ctx context.Context, helper, verb string, stdin []byte) ([]byte, error) {
	program := "docker-credential-" + helper
	cmd := exec.CommandContext(ctx, program, verb)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		said := strings.TrimSpace(string(out) + stderr.String())
		err = fmt.Errorf("%s %s: %w: %s", program, verb, err, said)
		if errors.Is(err, exec.ErrNotFound) {
			err = hint.Usage(err)
		}
		return out, hint.Wrap(err, "the Docker configuration names this helper; install it, or log in without it")
	}
	return out, nil
}

// Login stores credentials for a registry in Docker's config.json: with the helper that the file names, else in the file,
// as Docker does. Everything else in the file stays.
func Login(ctx context.Context, file, registry, user, password string) error {
	if strings.Contains(user, ":") {
		return hint.Usage(fmt.Errorf("the user name %q has a colon, which separates it from the password", user))
	}
	return editConfig(file, registry, func(cf *configFile, key string, auths map[string]json.RawMessage) error {
		if helper := helperFor(cf, key); helper != "" {
			in, err := json.Marshal(map[string]string{"ServerURL": key, "Username": user, "Secret": password})
			if err != nil {
				return err
			}
			if _, err := runHelper(ctx, helper, "store", in); err != nil {
				return err
			}
			auths[key] = json.RawMessage("{}")
			return nil
		}
		b, err := json.Marshal(map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))})
		auths[key] = b
		return err
	})
}

// ErrNotLoggedIn is returned by Logout where there is nothing to remove.
var ErrNotLoggedIn = errors.New("not logged in")

// Logout removes a registry's credentials.
func Logout(ctx context.Context, file, registry string) error {
	return editConfig(file, registry, func(cf *configFile, key string, auths map[string]json.RawMessage) error {
		helper := helperFor(cf, key)
		var entries []string
		for _, k := range aliases(normalise(key)) {
			entries = append(entries, matching(auths, k)...)
		}
		if len(entries) == 0 && helper == "" {
			return fmt.Errorf("%s: %w", registry, ErrNotLoggedIn)
		}
		for _, k := range entries {
			delete(auths, k)
		}
		if helper == "" {
			return nil
		}
		_, err := runHelper(ctx, helper, "erase", []byte(key))
		return err
	})
}

func helperFor(cf *configFile, key string) string {
	for _, k := range aliases(normalise(key)) {
		if found := matching(cf.CredHelpers, k); len(found) > 0 {
			return cf.CredHelpers[found[0]]
		}
	}
	return cf.CredsStore
}

// editConfig changes the "auths" of a configuration file, which is written beside and renamed.
func editConfig(file, registry string, edit func(*configFile, string, map[string]json.RawMessage) error) (err error) {
	reg, err := name.NewRegistry(registry)
	if err != nil {
		return hint.Usage(fmt.Errorf("reading the registry %q: %w", registry, err))
	}
	key := serverKey(reg.RegistryStr())
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real // a link to where the settings are kept stays one
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		b = nil
	} else if err != nil {
		return hint.Usage(err)
	}
	cf, err := parseConfigFile(b)
	if err != nil {
		return hint.Usage(fmt.Errorf("reading %s: %w", file, err))
	}
	var top, auths map[string]json.RawMessage
	if len(bytes.TrimSpace(b)) > 0 {
		if err := json.Unmarshal(b, &top); err != nil {
			return hint.Usage(fmt.Errorf("reading %s: %w", file, err))
		}
	}
	if raw, ok := top["auths"]; ok {
		if err := json.Unmarshal(raw, &auths); err != nil {
			return hint.Usage(fmt.Errorf("reading %s: %w", file, err))
		}
	}
	if top == nil { // no file, or null
		top = make(map[string]json.RawMessage)
	}
	if auths == nil {
		auths = make(map[string]json.RawMessage)
	}
	if err := edit(cf, key, auths); err != nil {
		return err
	}
	raw, err := json.Marshal(auths)
	if err != nil {
		return err
	}
	top["auths"] = raw
	if b, err = json.MarshalIndent(top, "", "\t"); err != nil {
		return err
	}
	return writeSecret(file, b)
}

// writeSecret replaces a file that only its owner may read.
func writeSecret(file string, b []byte) error {
	err := os.MkdirAll(filepath.Dir(file), 0o700)
	if err == nil {
		err = atomicfile.WriteBytes(file, 0o600, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}
