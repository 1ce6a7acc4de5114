package debian

import (
	"context"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/accounts"
	"github.com/jubako/jubako/pkg/debfile/debfiletest"
	"github.com/jubako/jubako/pkg/hint"
)

func TestScripts(t *testing.T) {
	w := newWorld(t, map[string]string{"usr/bin/real": "x"})
	w.add("a 1", debfiletest.Deb{Entries: []entry{debfiletest.File("usr/bin/a1", "1"), debfiletest.File("usr/bin/a2", "2"), debfiletest.File("usr/share/a.1", "page")}, Members: map[string]string{
		"templates": "Template: a/style\nType: select\nDefault: bold\n",
		"postinst": `#!/bin/sh
set -e
. /usr/share/debconf/confmodule
if [ "$1" = configure ]; then
  for i in a1 a2 missing; do
    update-alternatives --install /usr/bin/best best /usr/bin/$i 10 \
      --slave /usr/share/man/best.1 best.1 /usr/share/a.1 --slave /usr/share/man/no.1 no.1 /usr/share/none
  done
  update-alternatives --install /usr/bin/real realname /usr/bin/a1 10
  db_get a/style
  ln -s /etc/styles/$RET /etc/style
  mkdir -p -m 750 /var/lib/a
  if [ -n "$2" ] && dpkg --compare-versions "$2" lt 3; then rm -rf /var/lib/old; fi
fi
case "$1" in remove) rm -rf /important ;; esac
#DEBHELPER#
exit 0
`}})
	w.add("b 1", debfiletest.Deb{Members: map[string]string{"postinst": "#!/bin/sh\nmake-something --now /usr\n"}})
	w.add("c 1", debfiletest.Deb{Members: map[string]string{"postinst": "#!/usr/bin/perl\nprint 1;\n"}})
	w.add("e 1", debfiletest.Deb{Members: map[string]string{"preinst": "#!/bin/sh\nfor l in x y; do dpkg-divert --package e --no-rename --divert /lib/$l.usr-is-merged --add /lib/$l; done\n"}})
	w.add("f 1", debfiletest.Deb{Members: map[string]string{"preinst": "#!/bin/sh\ndpkg-divert --package f --rename --divert /lib/a.old --add /lib/a\n"}})
	w.add("d 1", debfiletest.Deb{Members: map[string]string{"postinst": "#!/bin/sh\nif which no-such-program >/dev/null; then no-such-program; fi\nset -e\n"}})
	tree := w.tree()
	expect(t, tree, map[string]string{
		"var/lib/dpkg/diversions": "/lib/x\n/lib/x.usr-is-merged\ne\n/lib/y\n/lib/y.usr-is-merged\ne\n",
		"usr/bin/best":            "-> /etc/alternatives/best", "etc/alternatives/best": "-> /usr/bin/a1", "usr/share/man/best.1": "-> /etc/alternatives/best.1",
		"etc/alternatives/best.1": "-> /usr/share/a.1", "etc/alternatives/no.1": "absent", "usr/bin/real": "absent", "etc/style": "-> /etc/styles/bold", "var/lib/a": "directory",
		"var/lib/dpkg/alternatives/best": "auto\n/usr/bin/best\nbest.1\n/usr/share/man/best.1\nno.1\n/usr/share/man/no.1\n\n/usr/bin/a1\n10\n/usr/share/a.1\n/usr/share/none\n/usr/bin/a2\n10\n/usr/share/a.1\n/usr/share/none\n\n",
	})
	effects, err := w.layer().Effects(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var classes []string
	for _, s := range effects.Scripts {
		classes = append(classes, s.Package+" "+string(s.Class))
	}
	if got := strings.Join(classes, ", "); got != "a handled, b unhandled, c unhandled, d noop, e handled, f unhandled" {
		t.Error(got)
	}
	said := strings.Join(w.said, "\n")
	if !strings.Contains(said, "package b 1: its maintainer scripts are not carried out whole: it runs make-something --now /usr") || !strings.Contains(said, "postinst is a script for /usr/bin/perl") ||
		!strings.Contains(said, "/usr/bin/real is a file, and does not become a link") {
		t.Error(said)
	}
	w.o.StrictScripts = true
	if _, err = w.layer().Effects(context.Background()); err == nil || hint.KindOf(err) != hint.KindCheck || !strings.Contains(err.Error(), "make-something") {
		t.Errorf("%v", err)
	}
}

func TestAlternativesOfTheBase(t *testing.T) {
	group := "auto\n/usr/bin/awk\nawk.1\n/usr/share/man/awk.1\n\n/usr/bin/mawk\n5\n/usr/share/mawk.1\n\n"
	for name, tc := range map[string]struct{ priority, mode, link string }{
		"better": {"10", "auto", "-> /usr/bin/gawk"}, "worse": {"1", "auto", "-> /usr/bin/mawk"}, "manual": {"10", "manual", "absent"},
	} {
		w := newWorld(t, map[string]string{"usr/bin/mawk": "m", "usr/share/mawk.1": "m", "usr/bin/awk": "-> /etc/alternatives/awk", "etc/alternatives/awk": "-> /usr/bin/mawk",
			"etc/alternatives/awk.1": "-> /usr/share/mawk.1", "usr/share/man/awk.1": "-> /etc/alternatives/awk.1", "var/lib/dpkg/alternatives/awk": strings.Replace(group, "auto", tc.mode, 1)})
		w.add("gawk 1", debfiletest.Deb{Entries: []entry{debfiletest.File("usr/bin/gawk", "g")},
			Members: map[string]string{"postinst": "#!/bin/sh\nupdate-alternatives --install /usr/bin/awk awk /usr/bin/gawk " + tc.priority + "\n"}})
		tree := w.tree()
		if got := text(t, tree, "etc/alternatives/awk"); got != tc.link {
			t.Errorf("%s: %s", name, got)
		}
		if got := text(t, tree, "usr/share/man/awk.1"); name == "better" && got != "whiteout" {
			t.Errorf("%s: the other's manual is %s", name, got)
		}
		if got := text(t, tree, "var/lib/dpkg/alternatives/awk"); !strings.Contains(got, "/usr/bin/gawk\n"+tc.priority+"\n\n/usr/bin/mawk\n5\n/usr/share/mawk.1\n\n") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestAccounts(t *testing.T) {
	w := newWorld(t, nil)
	w.o.Facts.Shadow = []byte("root:*:1::::::\n")
	w.o.Epoch = 20_000 * day
	w.add("bus 1", debfiletest.Deb{Entries: []entry{debfiletest.File("usr/lib/sysusers.d/bus.conf", "# accounts\nu bus - \"The bus\" /run/bus\ng extra 77\nm bus mail\nu fixed 81:8\n")},
		Members: map[string]string{"postinst": "#!/bin/sh\nsystemd-sysusers ${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} bus.conf\n"}})
	w.add("redis 1", debfiletest.Deb{Members: map[string]string{"postinst": "#!/bin/sh\nadduser --system --group --home /var/lib/redis --no-create-home --quiet redis || true\n"}})
	tree := w.tree()
	expect(t, tree, map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nbus:x:999:999:The bus:/run/bus:/usr/sbin/nologin\nfixed:x:81:8::/:/usr/sbin/nologin\nredis:x:100:100::/var/lib/redis:/usr/sbin/nologin\n",
		"etc/group":  "root:x:0:\nmail:x:8:bus\nextra:x:77:\nbus:x:999:\nredis:x:100:\n",
		"etc/shadow": "root:*:1::::::\nbus:!*:20000::::::\nfixed:!*:20000::::::\nredis:!:20000::::::\n", "etc/gshadow": "absent",
	})
	l := w.layer()
	effects, err := l.Effects(context.Background()) // out of the cache: nothing is opened
	if err != nil || effects.Accounts == nil {
		t.Fatalf("%+v %v", effects, err)
	}
	user, err := accounts.Files{Passwd: effects.Over(w.o.Facts).Passwd, Group: effects.Over(w.o.Facts).Group}.Resolve(accounts.Request{Name: "app", UID: -1, GID: -1})
	if err != nil || user.UID == 999 {
		t.Errorf("%+v %v", user, err)
	}
}

// TestSysusersIDs: any id with a group of one's choice, and no id twice.
func TestSysusersIDs(t *testing.T) {
	w := newWorld(t, nil)
	w.add("sshd 1", debfiletest.Deb{Entries: []entry{debfiletest.File("usr/lib/sysusers.d/sshd.conf", "u sshd -:mail \"sshd user\" /run/sshd\nu own -:77\nu again 999:8\nu root2 0\n")},
		Members: map[string]string{"postinst": "#!/bin/sh\nsystemd-sysusers sshd.conf\n"}})
	expect(t, w.tree(), map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nsshd:*:999:8:sshd user:/run/sshd:/usr/sbin/nologin\nown:*:998:77::/:/usr/sbin/nologin\n" +
			"again:*:997:8::/:/usr/sbin/nologin\nroot2:*:996:996::/:/usr/sbin/nologin\n",
		"etc/group": "root:x:0:\nmail:x:8:\nroot2:x:996:\n",
	})
}
