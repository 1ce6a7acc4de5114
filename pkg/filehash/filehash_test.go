package filehash

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, alg := range algorithms {
		h := New(alg)
		text := alg + ":" + strings.Repeat("AB", h.Size())
		got, err := Parse(text)
		if err != nil || got.String() != strings.ToLower(text) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		if _, err := Parse(text + "ab"); err == nil {
			t.Errorf("a digest of %s that is too long passed", alg)
		}
	}
	for _, bad := range []string{"", "sha256", "sha1:00", "SHA256:" + strings.Repeat("0", 64), "sha256:" + strings.Repeat("x", 64), "sha256:"} {
		if h, err := Parse(bad); err == nil {
			t.Errorf("%q is %v", bad, h)
		}
	}
	if all, err := ParseAll([]string{"md5:" + strings.Repeat("0", 32), "nope"}); err == nil {
		t.Errorf("%v", all)
	}
}

func TestSort(t *testing.T) {
	all := []Hash{{"md5", "1"}, {"sha512", "2"}, {"sha256", "3"}, {"sha256", "4"}}
	Sort(all)
	var got []string
	for _, h := range all {
		got = append(got, h.Hex)
	}
	if s := strings.Join(got, ""); s != "3421" {
		t.Errorf("the order is %s", s)
	}
}
