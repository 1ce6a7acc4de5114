// Package wheel reads wheels (PEP 427) and says which files a virtual environment holds once they are installed, as uv
// installs them, for a Python that is not there.
//
//   - ParseFilename and Tags choose a wheel for a target: PEP 425's tags, of any architecture and C library.
//   - Open reads an archive, strictly: whatever two zip readers could understand in two ways is refused.
//   - NewSynthetic makes a wheel of files that jubako has at hand, as a build backend would have made it.
//   - Venv is the virtual environment itself (PEP 405), and Install adds a wheel's files to it.
//
// File contents stay where they are: a tree of installed files refers to the archives, which must stay open until the
// tree has been written. Memory is bounded by the number of files.
//
// It imports pkg/fstree, pkg/hint and pkg/pep508, and nothing else of jubako.
package wheel
