package sdist

import (
	"archive/tar"
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// tarBlock is the size of a tar's header.
const tarBlock = 512

// tar unpacks a tar (POSIX.1-2001 pax, and GNU's).
func (u *unpacker) tar(r io.Reader, inflate func(io.Reader) (io.Reader, error)) error {
	plain, err := inflate(r)
	if err != nil {
		return fmt.Errorf("it cannot be inflated: %w", err)
	}
	// What lies between the files, and long names in headers, count as well: nothing else bounds them.
	read := &offsetReader{r: plain, limit: u.limits.Bytes + int64(u.limits.Entries)*8*tarBlock}
	for tr := tar.NewReader(read); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			u.entry = ""
			return nil
		}
		if err != nil {
			return fmt.Errorf("what follows it cannot be read: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		p, err := u.begin(h.Name, read.n-tarBlock)
		if err != nil {
			return err
		}
		if p == "" {
			continue
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = u.dir(p, timeOf(h.ModTime))
		case tar.TypeReg, '7': // a contiguous file is one like others
			err = u.file(p, h.Mode&0o100 != 0, timeOf(h.ModTime), tr)
		case tar.TypeSymlink:
			err = u.symlink(p, h.Linkname)
		case tar.TypeLink:
			err = u.hardlink(p, h.Linkname, h)
		case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
			err = errors.New("it is a device or a pipe")
		default:
			err = fmt.Errorf("it is of the kind %q, which no sdist has", h.Typeflag)
		}
		if err != nil {
			return err
		}
	}
}

// offsetReader counts what was read, within a bound.
type offsetReader struct {
	r        io.Reader
	n, limit int64
}

func (o *offsetReader) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	if o.n += int64(n); o.n > o.limit {
		return n, errors.New("the archive holds more bytes than any sdist should")
	}
	return n, err
}

// zip unpacks a zip.
func (u *unpacker) zip(a Archive) error {
	zr, err := zip.NewReader(a, a.Size)
	if err != nil {
		return err
	}
	for _, f := range zr.File {
		offset, err := f.DataOffset()
		if err != nil {
			u.entry = f.Name
			return err
		}
		p, err := u.begin(f.Name, offset)
		if err != nil {
			return err
		}
		if p == "" {
			continue
		}
		if err := u.zipped(p, f); err != nil {
			return err
		}
	}
	u.entry = ""
	return nil
}

func (u *unpacker) zipped(p string, f *zip.File) (err error) {
	mode := f.Mode()
	if strings.HasSuffix(f.Name, "/") {
		return u.dir(p, timeOf(f.Modified))
	}
	if !mode.IsRegular() && mode&fs.ModeSymlink == 0 {
		return errors.New("it is neither a file nor a folder")
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if mode&fs.ModeSymlink != 0 {
		target, err := io.ReadAll(io.LimitReader(r, maxPath+1))
		if err != nil {
			return err
		}
		return u.symlink(p, string(target))
	}
	return u.file(p, mode&0o100 != 0, timeOf(f.Modified), r)
}
