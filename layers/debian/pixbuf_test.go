package debian

import (
	"context"
	"strings"
	"testing"

	"github.com/jubako/jubako/pkg/debfile/debfiletest"
)

// TestPixbufLoaders: the list has what the modules of Debian say of themselves, and is not made where one is not known.
func TestPixbufLoaders(t *testing.T) {
	const home = "usr/lib/x86_64-linux-gnu/gdk-pixbuf-2.0/"
	program := debfiletest.File(home+"gdk-pixbuf-query-loaders", "x")
	program.Mode = 0o755
	postinst := map[string]string{"postinst": "#!/bin/sh\nset -e\nif [ \"$1\" = triggered ] || [ \"$1\" = configure ]; then\n  /" + home + "gdk-pixbuf-query-loaders >/" + home + "2.10.0/loaders.cache\nfi\n"}
	add := func(w *world, version string) {
		w.add("libgdk-pixbuf-2.0-0 "+version, debfiletest.Deb{Members: postinst, Entries: []entry{program,
			debfiletest.File(home+"2.10.0/loaders/libpixbufloader-xpm.so", "x"), debfiletest.File(home+"2.10.0/loaders/libpixbufloader-gif.so", "x")}})
	}
	w := newWorld(t, nil)
	add(w, "2.42.12+dfsg-4+deb13u1")
	w.add("librsvg2-common 2.60.0+dfsg-1", debfiletest.Deb{Entries: []entry{debfiletest.File(home+"2.10.0/loaders/libpixbufloader_svg.so", "x")}})
	dir := "/" + home + "2.10.0/loaders"
	want := "# GdkPixbuf Image Loader Modules file\n# Automatically generated file, do not edit\n# Created by gdk-pixbuf-query-loaders from gdk-pixbuf-2.42.12\n#\n" +
		"\"" + dir + "/libpixbufloader-gif.so\"\n\"gif\" 4 \"gdk-pixbuf\" \"GIF\" \"LGPL\"\n\"image/gif\" \"\"\n\"gif\" \"\"\n\"GIF8\" \"\" 100\n\n" +
		"\"" + dir + "/libpixbufloader-xpm.so\"\n\"xpm\" 4 \"gdk-pixbuf\" \"XPM\" \"LGPL\"\n\"image/x-xpixmap\" \"\"\n\"xpm\" \"\"\n\"/* XPM */\" \"\" 100\n\n" +
		"\"" + dir + "/libpixbufloader_svg.so\"\n\"svg\" 6 \"gdk-pixbuf\" \"Scalable Vector Graphics\" \"LGPL\"\n" +
		"\"image/svg+xml\" \"image/svg\" \"image/svg-xml\" \"image/vnd.adobe.svg+xml\" \"text/xml-svg\" \"image/svg+xml-compressed\" \"\"\n\"svg\" \"svgz\" \"svg.gz\" \"\"\n" +
		"\" <svg\" \"*    \" 100\n\" <!DOCTYPE svg\" \"*             \" 100\n\n\n"
	expect(t, w.tree(), map[string]string{home + "2.10.0/loaders.cache": want})
	if len(w.said) > 0 {
		t.Errorf("%q", w.said)
	}
	for name, change := range map[string]func(*world){
		"another version": func(w *world) { add(w, "2.44.1-1") },
		"another module": func(w *world) {
			add(w, "2.42.12-1")
			w.add("own-loader 1", debfiletest.Deb{Entries: []entry{debfiletest.File(home+"2.10.0/loaders/own.so", "x")}})
		},
	} {
		w := newWorld(t, nil)
		change(w)
		expect(t, w.tree(), map[string]string{home + "2.10.0/loaders.cache": "absent"})
		if _, err := w.layer().Effects(context.Background()); err != nil {
			t.Fatal(err)
		}
		if said := strings.Join(w.said, "\n"); !strings.Contains(said, "gdk-pixbuf's list of loaders is not made") {
			t.Errorf("%s: %q", name, said)
		}
	}
}
