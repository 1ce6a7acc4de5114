package wheel

import (
	"bytes"
	"encoding/json"
)

// DirectURL says where a package came from that is not from an index (PEP 610). Its zero value means an archive.
type DirectURL struct {
	// URL is percent-encoded and without credentials. Of a folder it is the file URL of its place in the image.
	URL          string
	Subdirectory string
	Dir          *DirInfo // of a folder
	VCS          *VCSInfo // of a repository
}

// DirInfo describes a folder.
type DirInfo struct {
	Editable bool `json:"editable"`
}

// VCSInfo describes a commit.
type VCSInfo struct {
	VCS               string `json:"vcs"` // "git"
	CommitID          string `json:"commit_id"`
	RequestedRevision string `json:"requested_revision,omitempty"`
	Path              string `json:"-"` // of an archive within the repository
}

// JSON is the content of direct_url.json, as uv writes it: compact, hashes left out.
func (d DirectURL) JSON() ([]byte, error) {
	v := struct {
		URL          string    `json:"url"`
		Dir          *DirInfo  `json:"dir_info,omitempty"`
		VCS          *VCSInfo  `json:"vcs_info,omitempty"`
		Archive      *struct{} `json:"archive_info,omitempty"`
		Subdirectory string    `json:"subdirectory,omitempty"`
		Path         string    `json:"path,omitempty"`
	}{URL: d.URL, Dir: d.Dir, VCS: d.VCS, Subdirectory: d.Subdirectory}
	switch {
	case d.VCS != nil:
		v.Path = d.VCS.Path
	case d.Dir == nil:
		v.Archive = &struct{}{}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
