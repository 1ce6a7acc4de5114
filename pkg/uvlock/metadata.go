package uvlock

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jubako/jubako/pkg/pep508"
)

// metadata is what the lock has noted of a project's own requirements when it was made.
type metadata struct {
	dist   []requirement
	extras []string
	groups map[string][]requirement
}

// requirement is a dependency, in a form in which the lock's and the project's can be compared.
type requirement struct {
	name       string
	extras     []string
	specifiers pep508.Specifiers
	marker     pep508.Marker
	elsewhere  bool // it has a source of its own, and so no specifier in the lock
}

func (p *parser) metadata(raw *rawMetadata) (*metadata, error) {
	m := &metadata{extras: pep508.NormalizeAll(raw.ProvidesExtras), groups: make(map[string][]requirement)}
	var err error
	if m.dist, err = p.noted(raw.RequiresDist); err != nil {
		return nil, err
	}
	for _, groups := range []map[string][]rawRequirement{raw.Groups, raw.RequiresDev} {
		for g, reqs := range groups {
			if m.groups[pep508.Normalize(g)], err = p.noted(reqs); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

func (p *parser) noted(raw []rawRequirement) ([]requirement, error) {
	var all []requirement
	for _, r := range raw {
		m, err := p.marker(r.Marker)
		if err != nil {
			return nil, err
		}
		s, err := pep508.ParseSpecifiers(r.Specifier)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Name, err)
		}
		extras := pep508.NormalizeAll(r.Extras)
		slices.Sort(extras)
		all = append(all, requirement{
			name: pep508.Normalize(r.Name), extras: extras, specifiers: s, marker: m,
			elsewhere: r.URL+r.Git+r.Path+r.Directory+r.Editable+r.Virtual != "",
		})
	}
	return all, nil
}

// Declared is what a pyproject.toml says of a project's requirements, as plain values.
type Declared struct {
	Dependencies []string            // [project] dependencies
	Optional     map[string][]string // [project] optional-dependencies
	Groups       map[string][]string // [dependency-groups], includes followed, and tool.uv.dev-dependencies in dev
	GroupPython  map[string]string   // [tool.uv.dependency-groups] requires-python, which narrows a group
	Dynamic      bool                // dependencies are dynamic: nothing can be compared
}

// Difference is something in which the lock's record of a project differs from the project.
type Difference struct {
	Where string // "dependencies", `extra "pdf"`, `group "dev"`
	What  string // "httpx>=0.28 is not in the lock"
}

func (d Difference) String() string { return d.Where + ": " + d.What }

// CheckMetadata compares the lock's own record of a project's requirements with what the project declares now. uv sync
// --frozen does not; a lock that is out of step installs something else than the project asks for. A lock that may lack a
// record (from revision 4 on), or that lacks the project, gives no difference.
func (l *Lock) CheckMetadata(project string, d Declared) ([]Difference, error) {
	noted := l.record(project)
	if noted == nil || d.Dynamic {
		return nil, nil
	}
	var all []Difference
	var c comparer
	declared, err := parseAll(d.Dependencies, "")
	if err != nil {
		return nil, err
	}
	extras := make(map[string]bool)
	for _, e := range noted.extras {
		extras[e] = true
	}
	for e, reqs := range d.Optional {
		extras[pep508.Normalize(e)] = true
		more, err := parseAll(reqs, pep508.Normalize(e))
		if err != nil {
			return nil, err
		}
		declared = append(declared, more...)
	}
	c.extras = slices.Sorted(maps.Keys(extras))
	all = append(all, l.extrasDiffer(d, noted)...)
	groups := make(map[string]bool)
	for g := range noted.groups {
		groups[g] = true
	}
	byGroup := make(map[string][]requirement)
	for g, reqs := range d.Groups {
		g = pep508.Normalize(g)
		groups[g] = true
		if byGroup[g], err = parseAll(reqs, ""); err != nil {
			return nil, err
		}
		if err := narrow(byGroup[g], d.GroupPython[g]); err != nil {
			return nil, err
		}
	}
	compared := [][]requirement{declared, noted.dist}
	for g := range groups {
		compared = append(compared, byGroup[g], noted.groups[g])
	}
	c.samples = samples(slices.Concat(compared...))
	all = append(all, c.compare("dependencies", declared, noted.dist)...)
	for _, g := range slices.Sorted(maps.Keys(groups)) {
		all = append(all, c.compare(fmt.Sprintf("group %q", g), byGroup[g], noted.groups[g])...)
	}
	return all, nil
}

// record is what the lock has noted of a project; of a root without [project], "", it notes the groups. nil where it may
// lack the record.
func (l *Lock) record(project string) *metadata {
	if project == "" {
		return &metadata{groups: l.manifest.noted}
	}
	for _, p := range l.byName[pep508.Normalize(project)] {
		switch {
		case !p.Source.Local():
		case p.metadata == nil && l.Revision < 4:
			return &metadata{} // nothing was required
		default:
			return p.metadata
		}
	}
	return nil
}

// extrasDiffer compares the names of the extras, which locks note from revision 1 on.
func (l *Lock) extrasDiffer(d Declared, noted *metadata) []Difference {
	if l.Revision < 1 {
		return nil
	}
	var all []Difference
	declared := pep508.SetOf(slices.Collect(maps.Keys(d.Optional))...)
	for _, e := range slices.Sorted(maps.Keys(declared)) {
		if !slices.Contains(noted.extras, e) {
			all = append(all, Difference{fmt.Sprintf("extra %q", e), "it is not in the lock"})
		}
	}
	for _, e := range noted.extras {
		if !declared[e] {
			all = append(all, Difference{fmt.Sprintf("extra %q", e), "it is in the lock only"})
		}
	}
	return all
}

// parseAll reads requirements; those of an extra get its marker, as the lock notes them.
func parseAll(texts []string, extra string) ([]requirement, error) {
	var all []requirement
	for _, t := range texts {
		r, err := pep508.ParseRequirement(t)
		if err != nil {
			return nil, err
		}
		if extra != "" {
			m, err := pep508.ParseMarker("extra == '" + extra + "'")
			if err != nil {
				return nil, err
			}
			r.Marker = r.Marker.And(m)
		}
		all = append(all, requirement{name: pep508.Normalize(r.Name), extras: r.Extras, specifiers: r.Specifiers, marker: r.Marker, elsewhere: r.URL != ""})
	}
	return all, nil
}

// samples are the targets on which markers are compared: two markers that agree on all of them are the same for an image.
// Where requirements speak of a micro version, that one and its neighbours are among them.
func samples(all []requirement) []pep508.Env {
	micros := make(map[string]bool)
	for minor := 8; minor <= 16; minor++ {
		micros[fmt.Sprintf("3.%d.4", minor)] = true
	}
	for _, r := range all {
		for _, v := range r.marker.Releases() {
			if rel := v.Release(); len(rel) > 2 {
				for micro := max(rel[2], 1) - 1; micro <= rel[2]+1 && len(micros) < maxSamples; micro++ {
					micros[fmt.Sprintf("%d.%d.%d", rel[0], rel[1], micro)] = true
				}
			}
		}
	}
	var envs []pep508.Env
	for _, python := range slices.Sorted(maps.Keys(micros)) {
		for _, machine := range []string{"x86_64", "aarch64"} {
			if env, err := pep508.LinuxEnv(python, machine); err == nil {
				envs = append(envs, env)
			}
		}
	}
	return envs
}

// maxSamples bounds the Pythons on which markers are compared.
const maxSamples = 64

type comparer struct {
	samples []pep508.Env
	extras  []string
}

// vector says on which samples, and with which extra, a requirement is in force.
func (c comparer) vector(m pep508.Marker) string {
	var b strings.Builder
	for i := range c.samples {
		for _, x := range append([]string{""}, c.extras...) {
			if m.EvalWith(&c.samples[i], func(name string) bool { return name == x && x != "" }) {
				b.WriteByte('1')
			} else {
				b.WriteByte('0')
			}
		}
	}
	return b.String()
}

// bucket gathers the requirements of one name, extras and specifiers: uv splits one by its sources' markers, and drops
// what is said twice.
type bucket struct {
	requirement
	vector string // union of the members'
}

func (c comparer) buckets(all []requirement) []bucket {
	var out []bucket
	for _, r := range all {
		v := c.vector(r.marker)
		if !strings.Contains(v, "1") {
			continue // what no image installs may be noted in any form
		}
		i := slices.IndexFunc(out, func(b bucket) bool {
			return b.name == r.name && slices.Equal(b.extras, r.extras) && b.specifiers.Same(r.specifiers)
		})
		if i < 0 {
			out = append(out, bucket{r, v})
			continue
		}
		out[i].elsewhere = out[i].elsewhere || r.elsewhere
		union := []byte(out[i].vector)
		for k := range union {
			union[k] = max(union[k], v[k])
		}
		out[i].vector = string(union)
	}
	return out
}

// compare pairs what is declared with what is noted, and tells what is left over on either side. A name that has a source
// of its own is not compared further: the lock notes its source in place of what the project says.
func (c comparer) compare(where string, declared, noted []requirement) []Difference {
	elsewhere := make(map[string]bool)
	for _, r := range slices.Concat(declared, noted) {
		if r.elsewhere {
			elsewhere[r.name] = true
		}
	}
	left := c.buckets(noted)
	var unmatched []bucket
	for _, d := range c.buckets(declared) {
		i := slices.IndexFunc(left, func(n bucket) bool {
			return n.name == d.name && (elsewhere[d.name] || n.vector == d.vector && slices.Equal(n.extras, d.extras) && n.specifiers.Same(d.specifiers))
		})
		if i < 0 {
			unmatched = append(unmatched, d)
		} else if !elsewhere[d.name] {
			left = slices.Delete(left, i, i+1)
		}
	}
	var all []Difference
	for _, d := range unmatched {
		i := slices.IndexFunc(left, func(n bucket) bool { return n.name == d.name })
		if i >= 0 {
			all = append(all, Difference{where, fmt.Sprintf("%s is now %s", left[i], d)})
			left = slices.Delete(left, i, i+1)
			continue
		}
		all = append(all, Difference{where, fmt.Sprintf("%s is not in the lock", d)})
	}
	for _, n := range left {
		if !elsewhere[n.name] {
			all = append(all, Difference{where, fmt.Sprintf("%s is in the lock only", n)})
		}
	}
	return all
}

// narrow adds a group's own requires-python to its requirements' markers.
func narrow(reqs []requirement, python string) error {
	if python == "" {
		return nil
	}
	specs, err := pep508.ParseSpecifiers(python)
	if err != nil {
		return err
	}
	m := pep508.PythonMarker(specs)
	for i := range reqs {
		reqs[i].marker = reqs[i].marker.And(m)
	}
	return nil
}

func (r requirement) String() string {
	s := r.name
	if len(r.extras) > 0 {
		s += "[" + strings.Join(r.extras, ",") + "]"
	}
	s += r.specifiers.String()
	if m := r.marker.String(); m != "" && m != "true" {
		s += "; " + m
	}
	return s
}
