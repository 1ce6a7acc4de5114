package debian

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/jubako/jubako/pkg/fstree"
)

const (
	sharedCerts = "usr/share/ca-certificates/"
	localCerts  = "usr/local/share/ca-certificates/"
	etcCerts    = "etc/ssl/certs/"
	certsConf   = "etc/ca-certificates.conf"
	maxCerts    = 4096
)

// every gives all paths of the image: the base's that stay, and the layer's.
func (b *builder) every() iter.Seq[string] {
	return func(yield func(string) bool) {
		for p := range b.base.Files {
			if _, ours := b.tree.Lookup(p); !ours && !b.gone[p] && !yield(p) {
				return
			}
		}
		for x := range b.tree.All() {
			if x.Kind != fstree.Whiteout && !yield(x.Path) {
				return
			}
		}
	}
}

// contentOf reads a file of the layer whole.
func contentOf(x fstree.Entry) (data []byte, err error) {
	const most = 16 << 20
	if x.Content == nil || x.Content.Size() > most {
		return nil, fmt.Errorf("/%s of %s is no file, or too long", x.Path, x.Producer)
	}
	r, err := x.Content.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(r)
}

// certificate is one that update-ca-certificates(8) takes.
type certificate struct {
	path string // absolute
	data []byte
}

// certificates does what update-ca-certificates does, where a package brings certificates: the bundle, a link to each, and
// links by the hash of the subject, by which OpenSSL finds them.
func (b *builder) certificates() error {
	var shared []string
	for x := range b.tree.All() {
		if strings.HasPrefix(x.Path, sharedCerts) && strings.HasSuffix(x.Path, ".crt") && x.Kind == fstree.File {
			shared = append(shared, strings.TrimPrefix(x.Path, sharedCerts))
		}
	}
	if len(shared) == 0 {
		return b.opensslLinks()
	}
	if len(shared) > maxCerts {
		return fmt.Errorf("packages bring %d CA certificates; at most %d are taken", len(shared), maxCerts)
	}
	slices.Sort(shared)
	conf, listed := b.certificatesConf(shared)
	if err := b.file(certsConf, 0o644, conf); err != nil {
		return err
	}
	var all []certificate
	for _, name := range listed {
		x, ok := b.tree.Lookup(sharedCerts + name)
		if !ok {
			continue // another package's, of the base: its content is not at hand, and its link is there
		}
		data, err := contentOf(x)
		if err != nil {
			return err
		}
		all = append(all, certificate{"/" + x.Path, data})
	}
	for _, p := range slices.Sorted(mapKeys(b.dpkg.Files)) {
		if strings.HasPrefix(p, localCerts) && strings.HasSuffix(p, ".crt") {
			all = append(all, certificate{"/" + p, b.dpkg.Files[p]})
		}
	}
	if err := b.oldCertificates(); err != nil {
		return err
	}
	var bundle []byte
	hashes := make(map[string]int)
	var links []fstree.Entry
	for _, c := range all {
		bundle = append(bundle, c.data...)
		if len(c.data) > 0 && c.data[len(c.data)-1] != '\n' {
			bundle = append(bundle, '\n')
		}
		name := strings.NewReplacer(" ", "_", "(", "=", ")", "=", ",", "_").Replace(strings.TrimSuffix(path.Base(c.path), ".crt")) + ".pem"
		links = append(links, fstree.Entry{Path: etcCerts + name, Link: c.path})
	}
	// openssl rehash goes through the links by their names.
	byName := slices.Clone(links)
	slices.SortFunc(byName, func(x, y fstree.Entry) int { return strings.Compare(x.Path, y.Path) })
	for _, l := range byName {
		i := slices.IndexFunc(all, func(c certificate) bool { return c.path == l.Link })
		hash, err := subjectHash(all[i].data)
		if err != nil {
			b.warn("%s is no certificate that OpenSSL would take: %v", all[i].path, err)
			continue
		}
		links = append(links, fstree.Entry{Path: fmt.Sprintf("%s%s.%d", etcCerts, hash, hashes[hash]), Link: path.Base(l.Path)})
		hashes[hash]++
	}
	for _, l := range links {
		l.Kind, l.Producer = fstree.Symlink, "update-ca-certificates"
		b.gone[l.Path] = false
		if err := b.tree.Replace(l); err != nil {
			return err
		}
	}
	if err := b.file(etcCerts+"ca-certificates.crt", 0o644, bundle); err != nil {
		return err
	}
	return b.opensslLinks()
}

// oldCertificates takes the links of the base away: those that are still right are made again.
func (b *builder) oldCertificates() error {
	for p, s := range b.base.Files {
		if !strings.HasPrefix(p, etcCerts) || s.Kind != fstree.Symlink || b.gone[p] {
			continue
		}
		hash := len(path.Base(p)) > 8 && path.Base(p)[8] == '.' && path.Ext(p) != ".pem" && !strings.Contains(s.Link, "/")
		if strings.HasPrefix(s.Link, "/"+sharedCerts) || strings.HasPrefix(s.Link, "/"+localCerts) || hash {
			if err := b.whiteout(p, "update-ca-certificates"); err != nil {
				return err
			}
		}
	}
	return nil
}

// certificatesConf gives the configuration, and the certificates that it takes: the base's choices stay, and what is new is
// trusted, as the package's default is.
func (b *builder) certificatesConf(shared []string) (conf []byte, listed []string) {
	old, there := b.dpkg.Files[certsConf]
	if !there {
		return []byte(certsHeader + strings.Join(shared, "\n") + "\n"), shared
	}
	known := make(map[string]bool)
	for l := range bytes.Lines(old) {
		line := strings.TrimSpace(string(l))
		name := strings.TrimPrefix(line, "!")
		if line == "" || line[0] == '#' {
			conf = append(conf, l...)
			continue
		}
		if !slices.Contains(shared, name) {
			if _, err := b.canonical(sharedCerts + name); err != nil || !b.test('f', "/"+sharedCerts+name) {
				continue // the certificate is gone
			}
		}
		known[name] = true
		conf = append(conf, l...)
		if line[0] != '!' {
			listed = append(listed, name)
		}
	}
	for _, name := range shared {
		if !known[name] {
			conf = append(conf, name+"\n"...)
			listed = append(listed, name)
		}
	}
	return conf, listed
}

const certsHeader = `# This file lists certificates that you wish to use or to ignore to be
# installed in /etc/ssl/certs.
# update-ca-certificates(8) will update /etc/ssl/certs by reading this file.
#
# line begins with # is comment.
# line begins with ! is certificate filename to be deselected.
#
`

// opensslLinks makes the links by which OpenSSL finds certificates and configuration, where the package openssl, which
// brings them, is left out of a base made of packages: without them Python knows no CA.
func (b *builder) opensslLinks() error {
	if !b.scratch() {
		return nil
	}
	for name, target := range map[string]string{"cert.pem": "/etc/ssl/certs/ca-certificates.crt", "certs": "/etc/ssl/certs", "openssl.cnf": "/etc/ssl/openssl.cnf", "private": "/etc/ssl/private"} {
		at := "usr/lib/ssl/" + name
		if _, there := b.look(at); there || !b.test('e', target) {
			continue
		}
		if err := b.tree.Add(fstree.Entry{Path: at, Kind: fstree.Symlink, Link: target, Producer: "the debian layer"}); err != nil {
			return err
		}
	}
	return nil
}

// subjectHash is the name of a certificate's link: OpenSSL's X509_NAME_hash of its subject, in hex.
func subjectHash(data []byte) (string, error) {
	block, _ := pem.Decode(data)
	der := data
	if block != nil {
		der = block.Bytes
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return "", err
	}
	canonical, err := canonicalName(c.RawSubject)
	if err != nil {
		return "", err
	}
	sum := sha1.Sum(canonical)
	return fmt.Sprintf("%08x", binary.LittleEndian.Uint32(sum[:])), nil
}

// canonicalName is the form of a name that OpenSSL hashes: texts in UTF-8, their blanks folded, ASCII letters small; and
// without the outermost header.
func canonicalName(raw []byte) ([]byte, error) {
	var rdns []asn1.RawValue
	if rest, err := asn1.Unmarshal(raw, &rdns); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("its subject is no name: %w", err)
	}
	var out []byte
	for _, rdn := range rdns {
		var attributes [][]byte
		for rest := rdn.Bytes; len(rest) > 0; {
			var a struct {
				Type  asn1.ObjectIdentifier
				Value asn1.RawValue
			}
			var err error
			if rest, err = asn1.Unmarshal(rest, &a); err != nil {
				return nil, fmt.Errorf("its subject is no name: %w", err)
			}
			if text, ok := canonicalText(a.Value); ok {
				a.Value = asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: text}
			}
			der, err := asn1.Marshal(a)
			if err != nil {
				return nil, err
			}
			attributes = append(attributes, der)
		}
		slices.SortFunc(attributes, bytes.Compare)
		set, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: bytes.Join(attributes, nil)})
		if err != nil {
			return nil, err
		}
		out = append(out, set...)
	}
	return out, nil
}

func canonicalText(v asn1.RawValue) ([]byte, bool) {
	const universalString, visibleString = 28, 26
	if v.Class != asn1.ClassUniversal {
		return nil, false
	}
	var text string
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, visibleString:
		text = string(v.Bytes)
	case asn1.TagT61String: // taken for Latin-1
		for _, c := range v.Bytes {
			text += string(rune(c))
		}
	case asn1.TagBMPString:
		var units []uint16
		for i := 0; i+1 < len(v.Bytes); i += 2 {
			units = append(units, binary.BigEndian.Uint16(v.Bytes[i:]))
		}
		text = string(utf16.Decode(units))
	case universalString:
		for i := 0; i+3 < len(v.Bytes); i += 4 {
			text += string(rune(binary.BigEndian.Uint32(v.Bytes[i:])))
		}
	default:
		return nil, false
	}
	blank := func(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' }
	text = strings.Join(strings.FieldsFunc(text, blank), " ")
	return []byte(strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)), true
}
