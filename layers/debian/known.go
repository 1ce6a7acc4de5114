package debian

import "strings"

// harmless are programs whose effects an image has no need of: service managers that do not run in it, caches that their
// readers make up for, catalogues for people, and what only looks.
var harmless = map[string]bool{
	"deb-systemd-helper": true, "deb-systemd-invoke": true, "systemctl": true, "invoke-rc.d": true, "update-rc.d": true, "service": true,
	"start-stop-daemon": true, "udevadm": true, "systemd-tmpfiles": true, "systemd-hwdb": true, "journalctl": true, "sysctl": true,
	"py3compile": true, "py3clean": true, "pycompile": true, "pyclean": true, "dh_python3": true,
	"dpkg-trigger": true, "dpkg-query": true, "dpkg": true, "dpkg-architecture": true, "apt-config": true, "mktemp": true, "tempfile": true,
	"fc-cache": true, "glib-compile-schemas": true, "gio-querymodules": true, "update-desktop-database": true,
	"gtk-update-icon-cache": true, "gtk-update-icon-cache-3.0": true, "update-icon-caches": true, "update-mime": true,
	"gtk-query-immodules-3.0": true, "gtk-query-immodules-2.0": true, "gconf-schemas": true,
	"update-fonts-alias": true, "update-fonts-scale": true, "update-fonts-dir": true, "update-fonts-encodings": true,
	"install-info": true, "install-docs": true, "update-catalog": true, "update-xmlcatalog": true, "install-sgmlcatalog": true, "mandb": true,
	"update-menus": true, "update-initramfs": true, "update-grub": true, "aa-status": true, "apparmor_parser": true, "aa-enabled": true,
	"debconf-loadtemplate": true, "pam-auth-update": true, "locale-gen": true, "systemd-machine-id-setup": true,
	"grep": true, "egrep": true, "sed": true, "cat": true, "cut": true, "head": true, "tail": true, "sort": true, "uniq": true, "awk": true, "tr": true,
	"find": true, "xargs": true, "readlink": true, "dirname": true, "basename": true, "stat": true, "ls": true, "id": true, "getent": true, "date": true,
	"uname": true, "seq": true, "wc": true, "expr": true, "ischroot": true, "true": true, "kill": true, "pidof": true, "runlevel": true, "logger": true,
	"cmp": true, "diff": true, "md5sum": true, "sha256sum": true, "hostname": true, "who": true, "ps": true, "break": true, "continue": true,
	"eval": true, "type": true, "hash": true, "wait": true, "let": true, "initctl": true, "log_daemon_msg": true, "log_end_msg": true,
}

// understood are programs whose effects are known, and not brought about.
var understood = map[string]string{
	"setcap":            "a program is not given its capabilities: it works for root alone",
	"dpkg-statoverride": "a file is not given another owner or mode",
	"dpkg-divert":       "a file is not moved out of another's way",
	"dot":               "graphviz's list of plugins (config6a) is not made: dot then knows none of them",
	"openssl":           "no certificate or key is made",
	"make-ssl-cert":     "no certificate or key is made",
	"ssh-keygen":        "no host key is made",
	"locale-gen":        "no locale is made",
}

// known is what is known of a package's scripts beyond what their text says.
type known struct {
	unhandled string
	whole     bool // the scripts need not be looked at
}

// knownScripts are by the package's name; a name that ends in * stands for all that begin so.
var knownScripts = map[string]known{
	// What these do for the image is done by other means: links, folders and accounts of a base from packages alone.
	"base-files": {whole: true}, "base-passwd": {whole: true}, "libc6": {whole: true}, "libc-bin": {whole: true}, "debianutils": {whole: true},
	"ca-certificates": {whole: true}, "tzdata": {whole: true}, "dash": {whole: true}, "bash": {whole: true}, "dpkg": {whole: true}, "debconf": {whole: true},
	"perl-base": {whole: true}, "python3-minimal": {whole: true}, "python3": {whole: true}, "openssl": {whole: true}, "readline-common": {whole: true},
	"python3.11-minimal": {whole: true}, "python3.13-minimal": {whole: true}, "python3.11": {whole: true}, "python3.13": {whole: true},
	// A file that every engine mounts something else over, and one that nothing reads.
	"netbase": {whole: true},
	// Links of manual pages, by a function that another package brings.
	"postgresql-client-*": {whole: true},
	// A list of font aliases to pass over, for a program of X servers.
	"xfonts-utils": {whole: true}, "x11-common": {whole: true},
	"graphviz":        {},
	"libgvc6":         {},
	"tdsodbc":         {unhandled: "the driver is not entered in /etc/odbcinst.ini", whole: true},
	"odbc-postgresql": {unhandled: "the driver is not entered in /etc/odbcinst.ini", whole: true},
	"locales":         {unhandled: "no locale is made: C.UTF-8 is there without", whole: true},
	"dbus":            {unhandled: "its helper is not made setuid for messagebus, which only a system bus needs"},
}

func knownScript(name string) (known, bool) {
	if k, ok := knownScripts[name]; ok {
		return k, true
	}
	for n, k := range knownScripts {
		if prefix, ok := strings.CutSuffix(n, "*"); ok && strings.HasPrefix(name, prefix) {
			return k, true
		}
	}
	return known{}, false
}
