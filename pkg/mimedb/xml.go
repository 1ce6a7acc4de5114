package mimedb

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	freeNS = "http://www.freedesktop.org/standards/shared-mime-info"
	xmlNS  = "http://www.w3.org/XML/1998/namespace"
)

// The bounds of a document: how deep elements lie in each other, as in libxml2, and how many attributes one has.
const (
	maxDepth = 256
	maxAttrs = 256
)

// node is an element, or a text where name is "".
type node struct {
	prefix, name, ns string
	attrs            []xml.Attr // as written; Name.Space is the prefix
	children         []*node
	parent           *node
	text             string
	cdata            bool
}

// is says whether the node is an element of the specification with this name.
func (n *node) is(name string) bool { return n.name == name && n.ns == freeNS }

// get gives an attribute without prefix.
func (n *node) get(name string) string {
	for _, a := range n.attrs {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (n *node) has(name string) bool {
	return slices.ContainsFunc(n.attrs, func(a xml.Attr) bool { return a.Name.Space == "" && a.Name.Local == name })
}

func (n *node) lang() string {
	for _, a := range n.attrs {
		if a.Name.Space == "xml" && a.Name.Local == "lang" {
			return a.Value
		}
	}
	return ""
}

// declared finds what a prefix stands for, here and outwards.
func (n *node) declared(prefix string) string {
	if prefix == "xml" {
		return xmlNS
	}
	for ; n != nil; n = n.parent {
		for _, a := range n.attrs {
			if isDeclaration(a) && (prefix == "" && a.Name.Space == "" || prefix != "" && a.Name.Space == "xmlns" && a.Name.Local == prefix) {
				return a.Value
			}
		}
	}
	return ""
}

func isDeclaration(a xml.Attr) bool {
	return a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns"
}

// parseXML reads a document into its root. Comments and processing instructions are left out.
func parseXML(data []byte) (*node, error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	var root, at *node
	depth := 0
	for {
		start := d.InputOffset()
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		raw := data[start:d.InputOffset()]
		line, _ := d.InputPos()
		switch t := token.(type) {
		case xml.StartElement:
			if at == nil && root != nil {
				return nil, fmt.Errorf("line %d: a second element outermost", line)
			}
			if depth++; depth > maxDepth {
				return nil, fmt.Errorf("line %d: elements lie more than %d deep", line, maxDepth)
			}
			if len(t.Attr) > maxAttrs {
				return nil, fmt.Errorf("line %d: an element has %d attributes; at most %d are read", line, len(t.Attr), maxAttrs)
			}
			n := &node{prefix: t.Name.Space, name: t.Name.Local, attrs: t.Copy().Attr, parent: at}
			seen := make(map[xml.Name]bool)
			for i, a := range n.attrs {
				if seen[a.Name] {
					return nil, fmt.Errorf("line %d: attribute %s is there twice", line, a.Name.Local)
				}
				seen[a.Name] = true
				// Line ends in attributes are blanks, but for those that are written as references.
				if !bytes.Contains(raw, []byte("&#")) {
					n.attrs[i].Value = strings.NewReplacer("\n", " ", "\t", " ", "\r", " ").Replace(a.Value)
				}
			}
			n.ns = n.declared(n.prefix)
			if at == nil {
				root = n
			} else {
				at.children = append(at.children, n)
			}
			at = n
		case xml.EndElement:
			if at == nil || at.prefix != t.Name.Space || at.name != t.Name.Local {
				return nil, fmt.Errorf("line %d: </%s> ends nothing", line, t.Name.Local)
			}
			at = at.parent
			depth--
		case xml.CharData:
			if at == nil {
				if len(bytes.TrimSpace(t)) > 0 {
					return nil, fmt.Errorf("line %d: text outside of elements", line)
				}
				continue
			}
			if len(t) > 0 {
				at.children = append(at.children, &node{text: string(t), parent: at, cdata: bytes.HasPrefix(raw, []byte("<![CDATA["))})
			}
		}
	}
	if root == nil || at != nil {
		return nil, errors.New("it ends too early")
	}
	return root, nil
}

var (
	textEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#13;")
	attrEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "\n", "&#10;", "\r", "&#13;", "\t", "&#9;")
)

// xmlFile is a type's own file, as libxml2 lays it out.
func (t *mimeType) xmlFile() []byte {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="utf-8"?>` + "\n" + `<mime-type xmlns="` + freeNS + `" type="` + attrEscapes.Replace(t.name) + `">` + "\n")
	b.WriteString("  <!--Created automatically by update-mime-database. DO NOT EDIT!-->\n")
	for _, f := range t.fields {
		if f == nil {
			continue
		}
		b.WriteString("  ")
		f.write(&b, 1, true, f.missing())
		b.WriteString("\n")
	}
	b.WriteString("</mime-type>\n")
	return []byte(b.String())
}

// missing are declarations of prefixes that the element and those in it use, and that stand further out.
func (n *node) missing() []xml.Attr {
	var found []xml.Attr
	seen := make(map[string]bool)
	var visit func(*node)
	visit = func(x *node) {
		if x.name == "" {
			return
		}
		prefixes := []string{x.prefix}
		for _, a := range x.attrs {
			if !isDeclaration(a) {
				prefixes = append(prefixes, a.Name.Space)
			}
		}
		for _, p := range prefixes {
			if p == "" || p == "xml" || seen[p] {
				continue
			}
			inside := false
			for y := x; y != n.parent && !inside; y = y.parent {
				for _, a := range y.attrs {
					inside = inside || a.Name.Space == "xmlns" && a.Name.Local == p
				}
			}
			if uri := x.declared(p); !inside && uri != "" {
				seen[p] = true
				found = append(found, xml.Attr{Name: xml.Name{Space: "xmlns", Local: p}, Value: uri})
			}
		}
		for _, c := range x.children {
			visit(c)
		}
	}
	visit(n)
	return found
}

func (n *node) write(b *strings.Builder, depth int, format bool, more []xml.Attr) {
	switch {
	case n.cdata:
		b.WriteString("<![CDATA[" + n.text + "]]>")
		return
	case n.name == "":
		b.WriteString(textEscapes.Replace(n.text))
		return
	}
	name := n.name
	if n.prefix != "" {
		name = n.prefix + ":" + name
	}
	b.WriteString("<" + name)
	attr := func(a xml.Attr) {
		b.WriteString(" ")
		if a.Name.Space != "" {
			b.WriteString(a.Name.Space + ":")
		}
		b.WriteString(a.Name.Local + `="` + attrEscapes.Replace(a.Value) + `"`)
	}
	var plain []xml.Attr
	for _, a := range n.attrs {
		switch {
		case !isDeclaration(a):
			plain = append(plain, a)
		case depth > 1 || n.prefix != "" || n.ns != freeNS:
			attr(a)
		}
	}
	for _, a := range more {
		attr(a)
	}
	for _, a := range plain {
		attr(a)
	}
	if len(n.children) == 0 {
		b.WriteString("/>")
		return
	}
	b.WriteString(">")
	for _, c := range n.children {
		format = format && (c.name != "" || c.cdata)
	}
	for _, c := range n.children {
		if format {
			b.WriteString("\n" + strings.Repeat("  ", depth+1))
		}
		c.write(b, depth+1, format, nil)
	}
	if format {
		b.WriteString("\n" + strings.Repeat("  ", depth))
	}
	b.WriteString("</" + name + ">")
}
