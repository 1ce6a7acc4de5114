package fetch

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/jubako/jubako/pkg/hint"
)

// maxIndexPage bounds a project's page in an index, in bytes.
const maxIndexPage = 64 << 20

// simpleIndex looks files up by name in an index (PEP 503, PEP 691).
type simpleIndex struct {
	c     *Client
	root  string
	pages lazyOnce[map[string]string]
}

// find gives the URL of the artifact's file. That the file is the locked one, its hash shows.
func (s *simpleIndex) find(ctx context.Context, a Artifact) (string, error) {
	files, err := s.pages.get(a.Project, func() (map[string]string, error) { return s.page(ctx, a.Project) })
	if err != nil {
		return "", err
	}
	u, ok := files[a.Filename]
	if !ok {
		return "", hint.Wrap(hint.Network(fmt.Errorf("the index %s has no file %s", redact(s.root), a.Filename)), "bring the file into that index, or take it from a folder with --find-links")
	}
	return u, nil
}

func (s *simpleIndex) page(ctx context.Context, project string) (map[string]string, error) {
	at := s.root + project + "/"
	resp, err := s.c.get(ctx, at, http.Header{"Accept": {"application/vnd.pypi.simple.v1+json, text/html;q=0.5"}})
	if err != nil {
		return nil, explain(&cut{err}, Artifact{Filename: "the list of " + project}, at)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, explain(&StatusError{Name: "the list of " + project, From: redact(at), Status: resp.Status, Code: resp.StatusCode}, Artifact{}, at)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxIndexPage+1))
	if err != nil {
		return nil, explain(&cut{err}, Artifact{Filename: "the list of " + project}, at)
	}
	if len(b) > maxIndexPage {
		return nil, fmt.Errorf("the list of %s has more than %d bytes", project, maxIndexPage)
	}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		return parseSimpleJSON(resp.Request.URL, b)
	}
	return parseSimpleHTML(resp.Request.URL, b), nil
}

func parseSimpleJSON(base *url.URL, b []byte) (map[string]string, error) {
	var p struct {
		Files []struct{ Filename, URL string }
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("reading %s: %w", redact(base.String()), err)
	}
	files := make(map[string]string, len(p.Files))
	for _, f := range p.Files {
		if u, err := base.Parse(f.URL); err == nil {
			files[f.Filename] = u.String()
		}
	}
	return files, nil
}

var anchorRE = regexp.MustCompile(`(?is)<a\s[^>]*?href\s*=\s*("[^"]*"|'[^']*')`)

// parseSimpleHTML reads the anchors of PEP 503's page. The file's name is the last part of the link's path.
func parseSimpleHTML(base *url.URL, b []byte) map[string]string {
	files := make(map[string]string)
	for _, m := range anchorRE.FindAllSubmatch(b, -1) {
		href := html.UnescapeString(string(m[1][1 : len(m[1])-1]))
		u, err := base.Parse(href)
		if err != nil {
			continue
		}
		u.Fragment = ""
		files[path.Base(u.Path)] = u.String()
	}
	return files
}
