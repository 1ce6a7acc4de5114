package registry

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// names lists a folder's files in order; a folder that is not there has none.
func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if missing(err) {
		return nil, nil
	}
	all := make([]string, len(entries))
	for i, e := range entries {
		all[i] = e.Name()
	}
	return all, err
}

// listTags lists a repository's tags, page by page (distribution-spec, "Listing Tags").
func (g *Registry) listTags(w http.ResponseWriter, req *http.Request, r route) error {
	if _, err := os.Stat(g.repo(r.name, "_manifests")); missing(err) {
		return refuse(http.StatusNotFound, "NAME_UNKNOWN", "there is no repository %s", r.name)
	}
	tags, err := names(g.repo(r.name, "_tags"))
	if err != nil {
		return err
	}
	if tags, err = page(w, req, tags); err != nil {
		return err
	}
	writeJSON(w, req, http.StatusOK, "application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{r.name, tags})
	return nil
}

// page gives the part of a sorted list that the query's n and last ask for, and links the next.
func page(w http.ResponseWriter, req *http.Request, all []string) ([]string, error) {
	q := req.URL.Query()
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	if s := q.Get("n"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return nil, refuse(http.StatusBadRequest, "UNSUPPORTED", "n=%q is no number", s)
		}
		if n < len(all) {
			all = all[:n]
			if n > 0 {
				next := url.URL{Path: req.URL.Path, RawQuery: url.Values{"n": {s}, "last": {all[n-1]}}.Encode()}
				w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
			}
		}
	}
	if all == nil {
		all = []string{}
	}
	return all, nil
}

// catalog lists the repositories.
func (g *Registry) catalog(w http.ResponseWriter, req *http.Request) error {
	var all []string
	root := filepath.Join(g.dir, "repositories")
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || !strings.HasPrefix(d.Name(), "_") {
			return err
		}
		if d.Name() == "_manifests" {
			rel, err := filepath.Rel(root, filepath.Dir(p))
			if err != nil {
				return err
			}
			all = append(all, filepath.ToSlash(rel))
		}
		return fs.SkipDir
	})
	if err != nil {
		return err
	}
	slices.Sort(all)
	if all, err = page(w, req, all); err != nil {
		return err
	}
	writeJSON(w, req, http.StatusOK, "application/json", map[string][]string{"repositories": all})
	return nil
}

// referrers lists the manifests whose subject is the digest (distribution-spec, "Listing Referrers").
func (g *Registry) referrers(w http.ResponseWriter, req *http.Request, r route) error {
	if !digestRE().MatchString(r.ref) {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "%q is no digest", r.ref)
	}
	dir := g.repo(r.name, "_referrers", r.ref)
	files, err := names(dir)
	if err != nil {
		return err
	}
	only := req.URL.Query().Get("artifactType")
	list := []descriptor{}
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if missing(err) {
			continue // deleted since
		}
		if err != nil {
			return err
		}
		var d descriptor
		if err := json.Unmarshal(b, &d); err != nil {
			return fmt.Errorf("reading the referrers of %s: %w", r.ref, err)
		}
		if only == "" || d.ArtifactType == only {
			list = append(list, d)
		}
	}
	if only != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	const index = "application/vnd.oci.image.index.v1+json"
	writeJSON(w, req, http.StatusOK, index, struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}{2, index, list})
	return nil
}
