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
	"strings"
	"time"

	"github.com/jubako/jubako/pkg/filehash"
	"github.com/jubako/jubako/pkg/hint"
)

// maxIndexPage bounds a project's page in an index, in bytes.
const maxIndexPage = 64 << 20

// simpleIndex looks files up by name in an index (PEP 503, PEP 691).
type simpleIndex struct {
	c     *Client
	root  string // with a slash at its end
	pages lazyOnce[map[string]IndexFile]
}

// IndexFile is a file that an index has of a project.
type IndexFile struct {
	Filename string
	URL      string
	Hashes   []filehash.Hash // those of the index that jubako knows, the best first
	// RequiresPython is what the file asks of the Python, as its project wrote it; "" where the index does not say.
	RequiresPython string
	Yanked         bool      // taken back by its project (PEP 592)
	Uploaded       time.Time // PEP 700; the zero time where the index does not say
	// Metadata says that the file's METADATA is to be had beside it, at its URL with ".metadata" (PEP 658, PEP 714), and
	// MetadataHashes what is known of it.
	Metadata       bool
	MetadataHashes []filehash.Hash
}

// simple gives the index at a root, one for each.
func (c *Client) simple(root string) *simpleIndex {
	root = strings.TrimSuffix(root, "/") + "/"
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.indexes == nil {
		c.indexes = make(map[string]*simpleIndex)
	}
	if c.indexes[root] == nil {
		c.indexes[root] = &simpleIndex{c: c, root: root}
	}
	return c.indexes[root]
}

// Files lists what an index has of a project (normalized name), by filename; nothing where it does not know the project.
func (c *Client) Files(ctx context.Context, index, project string) (map[string]IndexFile, error) {
	if c.o.Offline {
		return nil, hint.Wrap(hint.Network(&OfflineError{"the list of " + project}), "build once with a network, or use a lock that has the URLs of its files (uv.lock, pylock.toml)")
	}
	s := c.simple(index)
	return s.pages.get(project, func() (map[string]IndexFile, error) { return s.page(ctx, project) })
}

// find gives the URL of the artifact's file. That the file is the locked one, its hash shows.
func (s *simpleIndex) find(ctx context.Context, a Artifact) (string, error) {
	files, err := s.pages.get(a.Project, func() (map[string]IndexFile, error) { return s.page(ctx, a.Project) })
	if err != nil {
		return "", err
	}
	f, ok := files[a.Filename]
	if !ok {
		return "", &absentError{redact(s.root), a.Filename}
	}
	return f.URL, nil
}

// absentError says that an index does not have a file.
type absentError struct{ index, name string }

func (e *absentError) Error() string {
	return fmt.Sprintf("the index %s has no file %s", e.index, e.name)
}

// page reads the list of a project's files, by name.
func (s *simpleIndex) page(ctx context.Context, project string) (files map[string]IndexFile, err error) {
	at := s.root + url.PathEscape(project) + "/"
	name := "the list of " + project
	err = s.c.patiently(ctx, name, func() int64 { return 0 }, func() (time.Duration, error) {
		resp, err := s.c.get(ctx, at, http.Header{"Accept": {"application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"}})
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusNotFound {
			files = nil // the index does not know the project
			return 0, nil
		}
		if resp.StatusCode != http.StatusOK {
			excerpt, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
			return asked(resp), &StatusError{name, redact(at), resp.Status, resp.StatusCode, oneLine(string(excerpt))}
		}
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxIndexPage+1))
		if err != nil {
			return 0, &TruncatedError{name, redact(at), int64(len(b)), resp.ContentLength, withoutURL(err)}
		}
		if len(b) > maxIndexPage {
			return 0, &sizeError{name, maxIndexPage}
		}
		if strings.Contains(resp.Header.Get("Content-Type"), "json") {
			files, err = parseSimpleJSON(resp.Request.URL, b)
			return 0, err
		}
		files = parseSimpleHTML(resp.Request.URL, b)
		return 0, nil
	})
	if err != nil {
		return nil, s.c.explain(err, name, at)
	}
	return files, nil
}

// add notes a file of the page at base. What is not to be had by HTTP, or only less safely than the page, is not noted.
// The hash may be in the reference's fragment.
func add(files map[string]IndexFile, base *url.URL, f IndexFile, ref string, hashes map[string]string) {
	name := f.Filename
	u, err := base.Parse(strings.TrimSpace(ref))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || base.Scheme == "https" && u.Scheme != "https" {
		return
	}
	if alg, digits, ok := strings.Cut(u.Fragment, "="); ok && len(hashes) == 0 {
		hashes = map[string]string{alg: digits}
	}
	u.Fragment, u.RawFragment = "", ""
	if name == "" {
		name = path.Base(u.Path)
	}
	if _, twice := files[name]; twice {
		return
	}
	f.Filename, f.URL, f.Hashes = name, u.String(), knownHashes(hashes)
	files[name] = f
}

// knownHashes are those whose algorithm jubako knows, the best first.
func knownHashes(hashes map[string]string) []filehash.Hash {
	var all []filehash.Hash
	for alg, digits := range hashes {
		if h, err := filehash.Parse(alg + ":" + digits); err == nil {
			all = append(all, h)
		}
	}
	filehash.Sort(all)
	return all
}

// parseSimpleJSON reads PEP 691's form of a page, of any version 1.x.
func parseSimpleJSON(base *url.URL, b []byte) (map[string]IndexFile, error) {
	var p struct {
		Meta struct {
			Version string `json:"api-version"`
		} `json:"meta"`
		Files []struct {
			Filename string `json:"filename"`
			URL      string `json:"url"`
			// Of other types than text PEP 691 knows nothing; a hash that is no text is none.
			Hashes         map[string]any `json:"hashes"`
			RequiresPython any            `json:"requires-python"`
			Yanked         any            `json:"yanked"`        // a boolean, or the reason
			CoreMetadata   any            `json:"core-metadata"` // a boolean, or hashes
			DistInfo       any            `json:"dist-info-metadata"`
			UploadTime     any            `json:"upload-time"`
		} `json:"files"`
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("reading the list: %w", err)
	}
	if major, _, _ := strings.Cut(p.Meta.Version, "."); major != "1" && major != "" {
		return nil, fmt.Errorf("reading the list: it has the version %q of the index API, and jubako reads 1", p.Meta.Version)
	}
	files := make(map[string]IndexFile, len(p.Files))
	for _, f := range p.Files {
		if f.Filename == "" {
			continue
		}
		x := IndexFile{Filename: f.Filename, Yanked: f.Yanked != nil && f.Yanked != false}
		x.RequiresPython, _ = f.RequiresPython.(string)
		if text, ok := f.UploadTime.(string); ok {
			x.Uploaded, _ = time.Parse(time.RFC3339, text) // of another form it is as good as none
		}
		said := f.CoreMetadata
		if said == nil {
			said = f.DistInfo
		}
		if hashes, ok := said.(map[string]any); ok {
			x.Metadata, x.MetadataHashes = true, knownHashes(texts(hashes))
		} else {
			x.Metadata = said == true
		}
		add(files, base, x, f.URL, texts(f.Hashes))
	}
	return files, nil
}

func texts(m map[string]any) map[string]string {
	all := make(map[string]string, len(m))
	for k, v := range m {
		all[k], _ = v.(string)
	}
	return all
}

// parseSimpleHTML reads the anchors of PEP 503's page. The file's name is the last part of the link's path.
func parseSimpleHTML(base *url.URL, b []byte) map[string]IndexFile {
	files := make(map[string]IndexFile)
	based := false
	for s := (htmlScanner{text: string(b)}); s.next(); {
		switch href, ok := s.attrs["href"]; {
		case !ok:
		case s.tag == "a":
			x := IndexFile{RequiresPython: s.attrs["data-requires-python"]}
			_, x.Yanked = s.attrs["data-yanked"]
			said, ok := s.attrs["data-core-metadata"]
			if !ok {
				said = s.attrs["data-dist-info-metadata"]
			}
			if alg, digits, ok := strings.Cut(said, "="); ok {
				x.Metadata, x.MetadataHashes = true, knownHashes(map[string]string{alg: digits})
			} else {
				x.Metadata = said == "true"
			}
			add(files, base, x, href, nil)
		case s.tag == "base" && !based:
			if u, err := base.Parse(strings.TrimSpace(href)); err == nil {
				base, based = u, true
			}
		}
	}
	return files
}

// htmlScanner walks over the start tags of a page, as far as an index's pages need it: comments and the text of scripts
// are passed over, and entities in attributes are resolved.
type htmlScanner struct {
	text  string
	tag   string
	attrs map[string]string
}

func (s *htmlScanner) next() bool {
	for {
		i := strings.IndexByte(s.text, '<')
		if i < 0 || i+1 == len(s.text) {
			return false
		}
		s.text = s.text[i+1:]
		switch c := s.text[0]; {
		case strings.HasPrefix(s.text, "!--"):
			_, s.text, _ = strings.Cut(s.text[3:], "-->")
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			s.startTag()
			return true
		}
	}
}

const htmlSpace = " \t\r\n\f"

func (s *htmlScanner) startTag() {
	n := strings.IndexAny(s.text, htmlSpace+"/>")
	if n < 0 {
		n = len(s.text)
	}
	s.tag, s.attrs = strings.ToLower(s.text[:n]), nil
	s.text = s.text[n:]
	for {
		s.text = strings.TrimLeft(s.text, htmlSpace+"/")
		if s.text == "" {
			return
		}
		if s.text[0] == '>' {
			s.text = s.text[1:]
			break
		}
		s.attribute()
	}
	if s.tag == "script" || s.tag == "style" {
		if i := strings.Index(s.text, "</"+s.tag); i >= 0 {
			s.text = s.text[i:]
		}
	}
}

func (s *htmlScanner) attribute() {
	n := strings.IndexAny(s.text[1:], htmlSpace+"/>=") + 1
	if n == 0 {
		n = len(s.text)
	}
	name := strings.ToLower(s.text[:n])
	s.text = strings.TrimLeft(s.text[n:], htmlSpace)
	value := ""
	if rest, ok := strings.CutPrefix(s.text, "="); ok {
		rest = strings.TrimLeft(rest, htmlSpace)
		if rest != "" && (rest[0] == '"' || rest[0] == '\'') {
			value, s.text, _ = strings.Cut(rest[1:], rest[:1])
		} else {
			n := strings.IndexAny(rest, htmlSpace+">")
			if n < 0 {
				n = len(rest)
			}
			value, s.text = rest[:n], rest[n:]
		}
	}
	if s.attrs == nil {
		s.attrs = make(map[string]string)
	}
	if _, twice := s.attrs[name]; !twice {
		s.attrs[name] = html.UnescapeString(value)
	}
}
