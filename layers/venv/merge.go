package venv

import (
	"context"
	"errors"
	"fmt"

	"github.com/jubako/jubako/pkg/fstree"
	"github.com/jubako/jubako/pkg/hint"
	"github.com/jubako/jubako/pkg/wheel"
)

const unmergeable = "the two packages cannot be installed together: leave one out, or pin a version that differs"

// merger puts the trees of the packages together, in the packages' order.
//
// Two packages may bring one path: fastapi and fastapi-cli both have bin/fastapi. uv takes whichever it writes last,
// which differs from run to run. Here the package that depends on the other has its way, else the one whose name comes
// later.
type merger struct {
	packages []located
	requires [][]int // by package: indexes of those that it names
	tree     *fstree.Tree
	owner    map[string]int // of a path: the index of the package that has it
	clashes  []clash
}

// clash is what two packages both bring with different content.
type clash struct {
	winner, loser int
	path          string // the first
	more          int
}

// merge adds the tree of package i.
func (m *merger) merge(ctx context.Context, i int, t *fstree.Tree) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for e := range t.All() {
		err := m.tree.Add(e)
		if conflict, ok := errors.AsType[*fstree.ConflictError](err); ok {
			err = m.settle(i, e, conflict)
		} else if err == nil && e.Kind != fstree.Dir {
			m.owner[e.Path] = i
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settle decides which of two entries stays.
func (m *merger) settle(i int, e fstree.Entry, conflict *fstree.ConflictError) error {
	old := conflict.First
	j, owned := m.owner[e.Path]
	if !owned || old.Path != e.Path || old.Kind != fstree.File || e.Kind != fstree.File {
		return hint.Wrap(conflict, unmergeable)
	}
	same, err := wheel.SameContent(old.Content, e.Content)
	if err != nil {
		return fmt.Errorf("comparing /%s of %s and of %s: %w", e.Path, old.Producer, e.Producer, err)
	}
	winner, loser := i, j
	if m.dependsOn(j, i) && !m.dependsOn(i, j) {
		winner, loser = j, i
	}
	if !same {
		m.note(winner, loser, e.Path)
	}
	if winner == j {
		return nil
	}
	m.owner[e.Path] = i
	return m.tree.Replace(e)
}

// dependsOn says whether package a needs package b, over whatever others.
func (m *merger) dependsOn(a, b int) bool {
	seen := make([]bool, len(m.packages))
	queue := []int{a}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		for _, r := range m.requires[p] {
			if r == b {
				return true
			}
			if !seen[r] {
				seen[r] = true
				queue = append(queue, r)
			}
		}
	}
	return false
}

func (m *merger) note(winner, loser int, path string) {
	for i, c := range m.clashes {
		if c.winner == winner && c.loser == loser {
			m.clashes[i].more++
			return
		}
	}
	m.clashes = append(m.clashes, clash{winner: winner, loser: loser, path: path})
}

// warnings says of each two packages that clash what they both bring, and why whose file is taken.
func (m *merger) warnings() []string {
	var lines []string
	for _, c := range m.clashes {
		winner, loser := m.packages[c.winner].filename.Name, m.packages[c.loser].filename.Name
		what := "/" + c.path
		if c.more == 1 {
			what += " and another file"
		} else if c.more > 1 {
			what += fmt.Sprintf(" and %d other files", c.more)
		}
		why := "by its name, since neither depends on the other"
		switch {
		case m.dependsOn(c.winner, c.loser) && !m.dependsOn(c.loser, c.winner):
			why = "since it depends on " + loser
		case m.dependsOn(c.winner, c.loser):
			why = "by its name, since each depends on the other"
		}
		lines = append(lines, fmt.Sprintf("%s and %s both bring %s, with different content: %s's is taken, %s", loser, winner, what, winner, why))
	}
	return lines
}
